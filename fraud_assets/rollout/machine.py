"""Who decides: the champion, a challenger beside it, and the steps by which one takes the other's place. Pure.

    none ──shadow──► shadow ──canary──► canary ──full──► full ──archive──► none
      └────ab──────► ab ───────────────────────full──────▲
    shadow, canary, ab ──halt or rollback──► halted          (the challenger is out, the champion stays)
    full ──halt or rollback──► reverted                      (the champion before is champion again)

A rollout may begin in `none` and in the three ends. `none` is "no rollout, or one whose books are closed"; `full`
is an end that is still watched; `halted` and `reverted` are two words because in one nobody noticed anything and
in the other every payment was decided by a model that had to go.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from fraud_assets.models.artifact import Champion
from fraud_assets.settings import Settings

HOUR_MS = 3_600_000

Share = Annotated[float, Meta(gt=0, lt=1)]
DurationMs = Annotated[int, Meta(ge=0)]


class Phase(StrEnum):
    NONE = "none"
    SHADOW = "shadow"
    CANARY = "canary"
    AB = "ab"
    FULL = "full"
    HALTED = "halted"
    REVERTED = "reverted"


class Arm(StrEnum):
    CHAMPION = "champion"
    CHALLENGER = "challenger"


IDLE = frozenset({Phase.NONE, Phase.FULL, Phase.HALTED, Phase.REVERTED})
RUNNING = frozenset({Phase.SHADOW, Phase.CANARY, Phase.AB})
WATCHED = RUNNING | {Phase.FULL}  # a guard judges these


class IllegalTransition(ValueError):
    """A step that cannot follow what is. The message names what is and what would be allowed."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long each phase lasts at least, and what share of accounts a canary has."""

    shadow_ms: DurationMs = 7 * 24 * HOUR_MS
    canary_ms: DurationMs = 3 * 24 * HOUR_MS
    watch_ms: DurationMs = 3 * 24 * HOUR_MS
    canary_share: Share = 0.05

    @classmethod
    def of(cls, settings: Settings) -> "Plan":
        return cls(
            round(settings.rollout_shadow_hours * HOUR_MS),
            round(settings.rollout_canary_hours * HOUR_MS),
            round(settings.rollout_watch_hours * HOUR_MS),
            settings.rollout_canary_share,
        )


class Rollout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """sequence: of the transition that made it, 0 before the first. since_ms: when this phase, or this share, began.

    champion: who decides for all that the challenger does not. previous: the champion before, for a rollback; None
    where there is none, or it has come back. share, salt: whose payments the challenger decides (`arm`).
    """

    sequence: int = 0
    phase: Phase = Phase.NONE
    champion: Champion | None = None
    challenger: Champion | None = None
    previous: Champion | None = None
    share: float = 0.0
    salt: str = ""
    since_ms: int = 0
    plan: Plan = Plan()

    @property
    def beside(self) -> Champion | None:
        """Who scores beside the champion: the challenger; of a new champion that is still watched, the one before."""
        return self.previous if self.phase is Phase.FULL else self.challenger


class Transition(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """A step, by whom and why. evidence: what it rests on, as JSON has it. Raises ValueError without a who or a why."""

    at_ms: int
    who: str
    why: str
    evidence: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        if not (self.who.strip() and self.why.strip()):
            raise ValueError(f"{kind(self)}: say who does it and why; both stay in the log")


class Appoint(Transition, frozen=True, tag="appoint"):
    """A version is champion at once, without a rollout: the first one, or one that was published beside the log."""

    champion: Champion


class BeginShadow(Transition, frozen=True, tag="shadow"):
    """The challenger scores every payment and decides none."""

    challenger: Champion
    plan: Plan = Plan()


class ToCanary(Transition, frozen=True, tag="canary"):
    """The challenger decides for a share of accounts; out of a canary, for a larger one. share: the plan's if None."""

    share: Share | None = None


class BeginAB(Transition, frozen=True, tag="ab"):
    """Two versions decide, each for its accounts, until a person ends it."""

    challenger: Champion
    share: Share
    plan: Plan = Plan()


class ToFull(Transition, frozen=True, tag="full"):
    """The challenger is champion. The former one is kept for a rollback."""


class Halt(Transition, frozen=True, tag="halt"):
    """What is being tried ends: a guard's step. Illegal where nothing is tried."""


class Rollback(Transition, frozen=True, tag="rollback"):
    """The newest thing goes, whatever it is: a running challenger, or else the newest champion. A person's step."""


class Archive(Transition, frozen=True, tag="archive"):
    """The books of an ended rollout are closed: nothing is watched any more. A rollback stays possible."""


Due = ToCanary | ToFull | Archive
Step = Appoint | BeginShadow | ToCanary | BeginAB | ToFull | Halt | Rollback | Archive


def kind(transition: Transition | type[Transition]) -> str:
    """Its word in the log and on the command line."""
    return str(transition.__struct_config__.tag)


def allowed(rollout: Rollout) -> tuple[type[Step], ...]:
    """What `apply` takes from here, in the order of their usual use."""
    if rollout.phase in IDLE:
        steps: tuple[type[Step], ...] = (BeginShadow, BeginAB) if rollout.champion else ()
        steps += (Rollback,) if rollout.previous else ()
        steps += (Halt,) if rollout.phase is Phase.FULL else ()
        steps += (Archive,) if rollout.phase is not Phase.NONE else ()
    else:
        forward = {Phase.SHADOW: (ToCanary,), Phase.CANARY: (ToFull, ToCanary), Phase.AB: (ToFull,)}
        steps = (*forward[rollout.phase], Halt, Rollback)
    return (*steps, Appoint)


def apply(rollout: Rollout, step: Step) -> Rollout:
    """The rollout after a step. Raises IllegalTransition."""
    if type(step) not in allowed(rollout):
        raise IllegalTransition(_refused(rollout, step))
    changes = _changes(rollout, step)
    return msgspec.structs.replace(rollout, sequence=rollout.sequence + 1, since_ms=step.at_ms, **changes)


def _changes(rollout: Rollout, step: Step) -> dict[str, Any]:
    nobody = {"challenger": None, "share": 0.0, "salt": ""}
    match step:
        case Appoint(champion=champion):
            previous = rollout.champion if champion != rollout.champion else rollout.previous
            return {**nobody, "phase": Phase.NONE, "champion": champion, "previous": previous}
        case BeginShadow() | BeginAB():
            return _begun(rollout, step)
        case ToCanary(share=share):
            return {"phase": Phase.CANARY, "share": _grown(rollout, step, share or rollout.plan.canary_share)}
        case ToFull():
            _rests_on_something(step)
            return {**nobody, "phase": Phase.FULL, "champion": rollout.challenger, "previous": rollout.champion}
        case Halt() | Rollback():
            if rollout.phase in RUNNING:
                return {**nobody, "phase": Phase.HALTED}
            return {**nobody, "phase": Phase.REVERTED, "champion": rollout.previous, "previous": None}
        case Archive():
            return {"phase": Phase.NONE}


def _begun(rollout: Rollout, step: BeginShadow | BeginAB) -> dict[str, Any]:
    assert rollout.champion is not None  # `allowed` has looked
    if step.challenger.version == rollout.champion.version:
        raise IllegalTransition(
            f"IllegalTransition: {step.challenger.version} is the champion; it cannot challenge itself."
        )
    by_share = {"phase": Phase.AB, "share": step.share} if isinstance(step, BeginAB) else {"phase": Phase.SHADOW}
    # Of the number, so that a rollout of the same version again draws other accounts.
    salt = f"{rollout.sequence + 1}:{step.challenger.manifest_sha256[:16]}"
    return {"challenger": step.challenger, "plan": step.plan, "share": 0.0, "salt": salt, **by_share}


def _grown(rollout: Rollout, step: ToCanary, share: float) -> float:
    _rests_on_something(step)
    if share <= rollout.share:
        raise IllegalTransition(
            f"IllegalTransition: the canary has {rollout.share:.1%} of accounts and may only grow; {share:.1%} is not more."
            " Halt it to give accounts back."
        )
    return share


def _rests_on_something(step: ToCanary | ToFull) -> None:
    if not step.evidence:
        raise IllegalTransition(f"IllegalTransition: {kind(step)} without evidence; time alone promotes nobody.")


def _refused(rollout: Rollout, step: Step) -> str:
    who = f"{_name(rollout.champion)} is champion"
    if rollout.challenger:
        who += f", {_name(rollout.challenger)} challenges"
    if isinstance(step, Rollback):
        who += ", and no champion before it is known"
    ways = ", ".join(kind(way) for way in allowed(rollout))
    return f"IllegalTransition: {kind(step)} out of phase {rollout.phase} ({who}). Allowed here: {ways}."


def _name(champion: Champion | None) -> str:
    return champion.version if champion else "nobody"


def arm(rollout: Rollout, account_id: str) -> Arm:
    """Who decides this account's payments: of a canary or an A/B the challenger for a share of accounts.

    BLAKE2b of salt and account, as a fraction of its range, against the share: the same in every process, no
    table to keep. A canary that grows keeps whom it had, and a new rollout draws others.
    """
    if rollout.phase is not Phase.CANARY and rollout.phase is not Phase.AB:
        return Arm.CHAMPION
    digest = hashlib.blake2b(f"{rollout.salt}\0{account_id}".encode(), digest_size=8).digest()
    return Arm.CHALLENGER if int.from_bytes(digest, "big") < rollout.share * 2**64 else Arm.CHAMPION


def ended_by(step: Step, before: Rollout) -> Champion | None:
    """The version whose trial, or time as champion, a halt or a rollback ends; None of any other step."""
    return (before.challenger or before.champion) if isinstance(step, Halt | Rollback) else None


def due(rollout: Rollout, now_ms: int) -> type[Due] | None:
    """The step for which time alone is ripe, if any; a guard's evidence must speak for it too. An A/B never is."""
    waits: dict[Phase, tuple[int, type[Due]]] = {
        Phase.SHADOW: (rollout.plan.shadow_ms, ToCanary),
        Phase.CANARY: (rollout.plan.canary_ms, ToFull),
        Phase.FULL: (rollout.plan.watch_ms, Archive),
    }
    if rollout.phase not in waits:
        return None
    wait_ms, step = waits[rollout.phase]
    return step if now_ms - rollout.since_ms >= wait_ms else None
