"""What a drift demo showed: its time line, what was caught and what it cost before, during and after, and whether the loop closed.

Everything is computed from what the logs hold and from what the simulator knows; nothing from what a step expected. Pure.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from deploy.local.drift_log import Check, Served, Training
from fraud_assets.rollout.log import Entry
from fraud_assets.rollout.machine import Appoint, BeginShadow, Halt, Step, ToCanary, ToFull, kind
from fraud_assets.training.money import euro_cents
from fraud_assets.training.threshold import CostTable
from simulator.results import DENY, NO_DECISION, NOT_SENT, REVIEW, PurchaseResult

MACHINES = frozenset({"champion_model", "rollout_guard"})
SENSOR = "retrain_on_drift"
MAX_CANARY_REQUESTS = 1_000  # R19
CENTS = 100


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """All that a summary is made of. shifted_ms, ended_ms: of the new fraud; bad: the version that was made to fail, if it came so far."""

    shifted_ms: int
    ended_ms: int
    checks: Sequence[Check]
    trainings: Sequence[Training]
    steps: Sequence[Entry]
    served: Sequence[Served]
    purchases: Sequence[PurchaseResult]
    bad: str | None = None


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the first purchase of the new fraud; null for what did not happen.

    detected: the drift check failed as an error. asked: the sensor asked for the training that was the answer. trained: its run had
    ended. recovered: the champion of before decided for the last time.
    """

    detected: float | None
    asked: float | None
    trained: float | None
    shadow: float | None
    canary: float | None
    full: float | None
    recovered: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of decided purchases. Shares of nothing are null. euros_per_1000: what mistakes and reviews cost."""

    decided: int
    frauds: int
    recall: float | None
    new_fraud_recall: float | None
    honest_denied: float | None
    euros_per_1000: float | None


class Bad(msgspec.Struct, frozen=True, kw_only=True):
    """R19. decisions: that it made, to its last one. after_s: from its canary to the halt."""

    version: str
    decisions: int
    payments_in_canary: int
    after_s: float | None
    why: str
    is_reverted: bool


class DriftSummary(msgspec.Struct, frozen=True, kw_only=True):
    """`summary.json`. trainings: how many were asked for, and how many of them gave no model that passed.

    drift_before, drift_at_detection: share of features that had drifted, by the last check before the shift and the first that failed
    as an error. hands: steps that a person took.
    """

    seconds_from_shift: Times
    before: Figures
    during: Figures
    after: Figures
    trainings: int
    trainings_failed: int
    drift_before: float | None
    drift_at_detection: float | None
    hands: list[str]
    bad: Bad | None
    seconds: float

    def problems(self) -> list[str]:
        """Why the loop is not closed, or did not do what it is for; empty if it did."""
        found = [
            f"not {name} within the time that there was"
            for name, at in msgspec.structs.asdict(self.seconds_from_shift).items()
            if at is None
        ]
        if self.seconds_from_shift.detected is not None and self.seconds_from_shift.detected < 0:
            found.append("drift was found before anything had shifted")
        if self.drift_before is None:
            found.append("no drift check came before the shift, so nobody knows what it changed")
        if self.hands:
            found.append(f"a person took part: {', '.join(self.hands)}")
        if not found and not _more(self.after.new_fraud_recall, self.during.new_fraud_recall):
            found.append(f"recall did not rise: {self.during.new_fraud_recall} to {self.after.new_fraud_recall}")
        return found + self._bad_problems()

    def _bad_problems(self) -> list[str]:
        bad = self.bad
        if bad is None:
            return ["the bad candidate was never tried"]
        if bad.after_s is None or not bad.is_reverted:
            return [f"the bad candidate {bad.version} was not halted"]
        if bad.decisions > MAX_CANARY_REQUESTS:
            return [f"the bad candidate decided {bad.decisions} payments, of at most {MAX_CANARY_REQUESTS}"]
        return [] if bad.decisions else ["the bad candidate decided nothing, so nothing was proved of its halt"]


def summary_of(seen: Seen, seconds: float) -> DriftSummary:
    times, first = _times(seen), _first_rollout(seen)
    full_ms = _at(first, ToFull)
    recovered_ms = _recovered_ms(seen, first)
    bad_ms = next((one.step.at_ms for one in seen.steps if _is_of(one, seen.bad)), seen.ended_ms)
    return DriftSummary(
        seconds_from_shift=times,
        before=figures_of(_between(seen.purchases, 0, seen.shifted_ms)),
        during=figures_of(_between(seen.purchases, seen.shifted_ms, full_ms or bad_ms)),
        after=figures_of(_between(seen.purchases, recovered_ms or bad_ms, bad_ms)),
        trainings=len([one for one in seen.trainings if one.asked_ms >= seen.shifted_ms]),
        trainings_failed=len([one for one in seen.trainings if one.asked_ms >= seen.shifted_ms and not one.succeeded]),
        drift_before=next((one.share_drifted for one in reversed(seen.checks) if one.at_ms < seen.shifted_ms), None),
        drift_at_detection=next((one.share_drifted for one in seen.checks if one.is_error), None),
        hands=_hands(first, seen),
        bad=bad_of(seen),
        seconds=round(seconds, 1),
    )


def _times(seen: Seen) -> Times:
    first = _first_rollout(seen)
    detected = next((one.at_ms for one in seen.checks if one.is_error), None)
    shadow_ms = _at(first, BeginShadow)
    # The training that gave the version in shadow is the last that was asked for before.
    given = [one for one in seen.trainings if shadow_ms is not None and seen.shifted_ms <= one.asked_ms <= shadow_ms]

    def after(at_ms: int | None) -> float | None:
        return None if at_ms is None else round((at_ms - seen.shifted_ms) / 1000, 1)

    return Times(
        detected=after(detected),
        asked=after(given[-1].asked_ms if given else None),
        trained=after(given[-1].ended_ms if given else None),
        shadow=after(shadow_ms),
        canary=after(_at(first, ToCanary)),
        full=after(_at(first, ToFull)),
        recovered=after(_recovered_ms(seen, first)),
    )


def _first_rollout(seen: Seen) -> list[Entry]:
    """Steps of the rollout that ended in a new champion, or of the newest one; not of the bad candidate's."""
    steps = [one for one in seen.steps if one.step.at_ms >= seen.shifted_ms and not _is_of(one, seen.bad)]
    fulls = [place for place, one in enumerate(steps) if isinstance(one.step, ToFull)]
    until = fulls[0] + 1 if fulls else len(steps)
    begins = [place for place, one in enumerate(steps[:until]) if isinstance(one.step, BeginShadow)]
    return steps[begins[-1] : until] if begins else []


def _is_of(entry: Entry, version: str | None) -> bool:
    challenger = entry.rollout.challenger
    begun = entry.step.challenger.version if isinstance(entry.step, BeginShadow) else None
    return version is not None and version in (begun, challenger.version if challenger else None)


def _at(steps: Sequence[Entry], way: type[Step]) -> int | None:
    return next((one.step.at_ms for one in steps if isinstance(one.step, way)), None)


def _recovered_ms(seen: Seen, first: Sequence[Entry]) -> int | None:
    """When the champion of before decided last; while it is champion there is none."""
    full = next((one.rollout for one in first if isinstance(one.step, ToFull)), None)
    if full is None or full.previous is None:
        return None
    return next((one.last_ms for one in seen.served if one.version == full.previous.version), None)


def _hands(first: Sequence[Entry], seen: Seen) -> list[str]:
    """Steps and runs of the loop that no machine asked for."""
    by_hand = [f"{kind(type(one.step))} by {one.step.who}" for one in first if one.step.who not in MACHINES]
    runs = [one for one in seen.trainings if one.asked_ms >= seen.shifted_ms and one.sensor != SENSOR]
    appointed = [one for one in seen.steps if isinstance(one.step, Appoint) and one.step.at_ms >= seen.shifted_ms]
    return by_hand + ["a training" for _ in runs] + [f"appoint by {one.step.who}" for one in appointed]


def bad_of(seen: Seen) -> Bad | None:
    steps = [place for place, one in enumerate(seen.steps) if _is_of(one, seen.bad)]
    if seen.bad is None or not steps:
        return None
    mine = seen.steps[steps[0] : steps[-1] + 2]  # and the step that ended it
    canary, halt = _at(mine, ToCanary), next((one for one in mine if isinstance(one.step, Halt)), None)
    decided = next((one for one in seen.served if one.version == seen.bad), None)
    until = decided.last_ms if decided else seen.ended_ms
    return Bad(
        version=seen.bad,
        decisions=decided.decisions if decided else 0,
        payments_in_canary=len(_between(seen.purchases, canary or until, until)),
        after_s=None if halt is None or canary is None else round((halt.step.at_ms - canary) / 1000, 1),
        why=halt.step.why if halt else "",
        is_reverted=halt is not None and halt.step.who in MACHINES and halt.rollout.challenger is None,
    )


def figures_of(purchases: Sequence[PurchaseResult], costs: CostTable | None = None) -> Figures:
    costs = costs or CostTable()
    rows = [one for one in purchases if one.decision not in (NO_DECISION, NOT_SENT)]
    fraud = np.array([one.is_fraud for one in rows], bool)
    new = np.array([one.attacks for one in rows], bool)
    flagged, denied = (np.array([one.decision in said for one in rows], bool) for said in ((REVIEW, DENY), (DENY,)))
    cents = euro_cents(np.array([one.amount_minor for one in rows], np.int64), [one.currency for one in rows])
    cost = costs.lost(fraud, cents)[~flagged].sum() + costs.false_decline_minor * (denied & ~fraud).sum()
    cost += costs.review_minor * (flagged & ~denied).sum()
    return Figures(
        decided=len(rows),
        frauds=int(fraud.sum()),
        recall=_share(flagged, fraud),
        new_fraud_recall=_share(flagged, new),
        honest_denied=_share(denied, ~fraud),
        euros_per_1000=round(float(cost) / CENTS / len(rows) * 1_000, 2) if rows else None,
    )


def _share(flags: Any, of: Any) -> float | None:
    return round(float(flags[of].mean()), 4) if of.any() else None


def _between(purchases: Sequence[PurchaseResult], from_ms: int, to_ms: int) -> list[PurchaseResult]:
    return [one for one in purchases if from_ms <= one.event_time_ms < to_ms]


def _more(after: float | None, before: float | None) -> bool:
    return after is not None and before is not None and after > before
