"""What becomes of a version that passed its gates: champion at once, a shadow beside the champion, or nothing yet."""

from collections.abc import Mapping, Sequence
from typing import Any

from fraud_assets.models.artifact import Champion
from fraud_assets.rollout.log import Entry, PromotionLog
from fraud_assets.rollout.machine import WATCHED, Appoint, BeginShadow, Plan, Rollout, ended_by


def admit(
    log: PromotionLog, named: Champion, plan: Plan | None, at_ms: int, who: str, why: str, evidence: Mapping[str, Any]
) -> tuple[Rollout, str]:
    """Take the step that a version deserves, if any; the rollout then, and in words what was done.

    plan: of the shadow that it begins; None makes it champion at once, whatever runs. Without a champion it becomes one either way.
    Raises what `PromotionLog.move` does.
    """
    seen = log.settle(at_ms)
    if seen.champion == named:
        return seen, "it is the champion already"
    said: dict[str, Any] = {"at_ms": at_ms, "who": who, "why": why, "evidence": evidence}
    if plan is None or seen.champion is None:
        return log.move(seen, Appoint(**said, champion=named)), "appointed"
    stays = _stays(seen, named, log.entries())
    if stays:
        return seen, stays
    return log.move(seen, BeginShadow(**said, challenger=named, plan=plan)), "begins a shadow"


def _stays(seen: Rollout, named: Champion, entries: Sequence[Entry]) -> str:
    """Why a version does not challenge now; empty where it may."""
    if seen.phase in WATCHED:
        if seen.challenger == named:
            return f"it challenges already ({seen.phase})"
        tried = seen.challenger or seen.champion
        assert tried is not None  # something is tried, or has just become champion and is still watched
        return f"stays registered: {tried.version} is in {seen.phase}"
    if named in thrown_out(entries):
        return "stays registered: it was halted or rolled back, and only a person tries it again"
    return ""


def thrown_out(entries: Sequence[Entry]) -> set[Champion]:
    """Versions whose last trial, or time as champion, was ended by a halt or a rollback."""
    found: set[Champion] = set()
    before = Rollout()
    for entry in entries:
        if (gone := ended_by(entry.step, before)) is not None:
            found.add(gone)
        found.difference_update({entry.rollout.champion, entry.rollout.challenger})
        before = entry.rollout
    return found
