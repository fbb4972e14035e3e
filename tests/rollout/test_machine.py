"""The state machine: which step may follow which, whose payments the challenger decides, and when time is ripe."""

import msgspec
import pytest

from fraud_assets.models.artifact import Champion
from fraud_assets.rollout.machine import (
    Appoint,
    Archive,
    Arm,
    BeginAB,
    BeginShadow,
    Halt,
    IllegalTransition,
    Phase,
    Plan,
    Rollback,
    Rollout,
    Step,
    ToCanary,
    ToFull,
    allowed,
    apply,
    arm,
    due,
    kind,
)
from fraud_assets.settings import Settings
from tests.rollout.made import SAID, V1, V2, V3, ab, after, appoint, archive, canary, full, halt, rollback, shadow

ACCOUNTS = [f"account-{number}" for number in range(20_000)]

V9 = Champion("v9", "9" * 64)
BEGUN: list[Step] = [appoint(), shadow()]
TRIED: tuple[Step, ...] = (appoint(), shadow(V9), canary(0.5), ab(V9), full(), halt(), rollback(), archive())

# What docs/rollout.md draws: phase → the words that lead out of it.
ALLOWED: dict[str, tuple[list[Step], set[type[Step]]]] = {
    "nobody was ever champion": ([], {Appoint}),
    "none": ([appoint()], {BeginShadow, BeginAB, Appoint}),
    "none, a champion before": ([appoint(), appoint(V3)], {BeginShadow, BeginAB, Rollback, Appoint}),
    "shadow": (BEGUN, {ToCanary, Halt, Rollback, Appoint}),
    "canary": ([*BEGUN, canary()], {ToCanary, ToFull, Halt, Rollback, Appoint}),
    "ab": ([appoint(), ab()], {ToFull, Halt, Rollback, Appoint}),
    "full": ([*BEGUN, canary(), full()], {BeginShadow, BeginAB, Rollback, Halt, Archive, Appoint}),
    "halted": ([*BEGUN, halt()], {BeginShadow, BeginAB, Archive, Appoint}),
    "reverted": ([*BEGUN, canary(), full(), rollback()], {BeginShadow, BeginAB, Archive, Appoint}),
}


def is_taken(rollout: Rollout, step: Step) -> bool:
    try:
        apply(rollout, step)
    except IllegalTransition:
        return False
    return True


@pytest.mark.parametrize("where", ALLOWED)
def test_each_phase_takes_its_steps_and_refuses_all_others(where: str) -> None:
    steps, legal = ALLOWED[where]
    rollout = after(*steps)

    taken = {type(step) for step in TRIED if is_taken(rollout, step)}

    assert taken == legal == set(allowed(rollout))


def test_a_refusal_names_what_is_and_what_would_be_allowed() -> None:
    with pytest.raises(IllegalTransition) as refused:
        apply(after(*BEGUN), full())

    assert str(refused.value) == (
        "IllegalTransition: full out of phase shadow (v1 is champion, v2 challenges)."
        " Allowed here: canary, halt, rollback, appoint."
    )


def test_the_usual_way_ends_with_the_challenger_as_champion_and_the_former_one_kept() -> None:
    rollout = after(*BEGUN, canary(), full(), archive())

    assert rollout == Rollout(sequence=5, phase=Phase.NONE, champion=V2, previous=V1, since_ms=6, plan=rollout.plan)


@pytest.mark.parametrize("step", [halt(), rollback()], ids=["halt", "rollback"])
@pytest.mark.parametrize("running", [[*BEGUN], [*BEGUN, canary()], [appoint(), ab()]], ids=["shadow", "canary", "ab"])
def test_a_running_challenger_goes_and_the_champion_stays(running: list[Step], step: Step) -> None:
    ended = after(*running, step)

    assert (ended.phase, ended.champion, ended.challenger, ended.share) == (Phase.HALTED, V1, None, 0.0)


@pytest.mark.parametrize("step", [halt(), rollback()], ids=["halt", "rollback"])
def test_after_full_the_champion_before_comes_back(step: Step) -> None:
    ended = after(*BEGUN, canary(), full(), step)

    assert (ended.phase, ended.champion, ended.challenger, ended.previous) == (Phase.REVERTED, V1, None, None)


def test_a_second_rollback_does_not_bring_back_what_was_just_rolled_back() -> None:
    with pytest.raises(IllegalTransition, match="no champion before it is known"):
        apply(after(*BEGUN, canary(), full(), rollback()), rollback())


def test_a_rollback_stays_possible_when_the_books_are_closed_and_a_halt_does_not() -> None:
    closed = after(*BEGUN, canary(), full(), archive())

    assert apply(closed, rollback()).champion == V1
    with pytest.raises(IllegalTransition):
        apply(closed, halt())


def test_a_rollback_in_a_second_rollout_ends_that_one_first_then_the_champion() -> None:
    second = after(*BEGUN, canary(), full(), shadow(V3))

    once = apply(second, rollback())
    twice = apply(once, rollback())

    assert (once.phase, once.champion) == (Phase.HALTED, V2)
    assert (twice.phase, twice.champion) == (Phase.REVERTED, V1)


def test_the_champion_cannot_challenge_itself() -> None:
    with pytest.raises(IllegalTransition, match="v1 is the champion"):
        apply(after(appoint()), shadow(V1))


@pytest.mark.parametrize("step", [canary(), full()], ids=kind)
def test_time_alone_promotes_nobody(step: Step) -> None:
    before = after(*BEGUN) if isinstance(step, ToCanary) else after(*BEGUN, canary())

    with pytest.raises(IllegalTransition, match="without evidence"):
        apply(before, msgspec.structs.replace(step, evidence={}))


@pytest.mark.parametrize("missing", ["who", "why"])
def test_a_step_without_a_who_or_a_why_cannot_be_made(missing: str) -> None:
    with pytest.raises(ValueError, match="say who does it and why"):
        Halt(at_ms=1, **{**SAID, missing: " "})


def test_appointing_ends_what_runs() -> None:
    """Who publishes a champion in the middle of a rollout has left it nobody to be compared with."""
    rollout = after(*BEGUN, canary(), appoint(V3))

    assert (rollout.phase, rollout.champion, rollout.challenger, rollout.previous) == (Phase.NONE, V3, None, V1)


# ------------------------------------------------------------------------------------------ arms


def challenged(rollout: Rollout) -> set[str]:
    return {account for account in ACCOUNTS if arm(rollout, account) is Arm.CHALLENGER}


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.9])
def test_the_challenger_has_its_share_of_accounts(share: float) -> None:
    """Within five standard deviations of a fair draw."""
    found = len(challenged(after(*BEGUN, canary(share)))) / len(ACCOUNTS)

    assert abs(found - share) < 5 * (share * (1 - share) / len(ACCOUNTS)) ** 0.5


def test_a_canary_that_grows_keeps_whom_it_had() -> None:
    small = after(*BEGUN, canary(0.05))
    large = apply(small, canary(0.2))

    assert challenged(small) < challenged(large)


def test_a_canary_does_not_shrink() -> None:
    with pytest.raises(IllegalTransition, match="may only grow"):
        apply(after(*BEGUN, canary(0.2)), canary(0.05))


def test_a_new_rollout_of_the_same_version_draws_other_accounts() -> None:
    """Independent draws of a twentieth share a twentieth of their accounts, not all."""
    first = after(*BEGUN, canary())
    second = after(*BEGUN, halt(), shadow(), canary())

    both = challenged(first) & challenged(second)

    assert 0 < len(both) < 0.15 * len(challenged(first))


@pytest.mark.parametrize("where", ["none", "shadow", "full", "halted", "reverted"])
def test_the_champion_decides_for_everybody_outside_of_canary_and_ab(where: str) -> None:
    assert not challenged(after(*ALLOWED[where][0]))


def test_whose_challenger_an_account_has_never_changes_with_the_code() -> None:
    """Computed once by hand from the definition: an upgrade in the middle of a canary must not swap its accounts."""
    rollout = msgspec.structs.replace(after(*BEGUN, canary(0.5)), salt="2:abc")

    found = [arm(rollout, account) is Arm.CHALLENGER for account in ("a", "b", "c", "d", "e", "f")]

    assert found == [True, True, False, False, True, True]  # 0.41, 0.38, 0.94, 0.76, 0.48 and 0.0005 of the range


# ----------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize(
    ("steps", "waits_ms", "step"),
    [
        ([*BEGUN], 700, ToCanary),
        ([*BEGUN, canary()], 300, ToFull),
        ([*BEGUN, canary(), full()], 200, Archive),
    ],
    ids=["shadow", "canary", "full"],
)
def test_a_step_is_due_when_its_phase_has_lasted_as_planned(steps: list[Step], waits_ms: int, step: type[Step]) -> None:
    rollout = after(*steps)

    assert due(rollout, rollout.since_ms + waits_ms - 1) is None
    assert due(rollout, rollout.since_ms + waits_ms) is step


@pytest.mark.parametrize("where", ["none", "ab", "halted", "reverted"])
def test_nothing_is_ever_due_where_a_person_decides(where: str) -> None:
    assert due(after(*ALLOWED[where][0]), 10**15) is None


def test_a_canary_that_grows_begins_its_time_anew() -> None:
    grown = after(*BEGUN, canary(at_ms=1_000), canary(0.2, at_ms=1_200))

    assert due(grown, 1_300) is None
    assert due(grown, 1_500) is ToFull


def test_the_plan_is_the_settings() -> None:
    settings = Settings(
        rollout_shadow_hours=0.05, rollout_canary_hours=2, rollout_watch_hours=1, rollout_canary_share=0.1
    )

    assert Plan.of(settings) == Plan(180_000, 7_200_000, 3_600_000, 0.1)
    assert Plan.of(Settings()) == Plan()
