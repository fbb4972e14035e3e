"""The guard: what it counts, what it says, and that it halts a bad challenger and leaves a sound one alone."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fraud_assets.models.artifact import read_champion
from fraud_assets.rollout.bounds import MIN_BEYOND, Basis, Level, Limits, levels_of
from fraud_assets.rollout.guard import Gathered, Guard, Judgement, Matured, OtherEvidence, Scored, Verdict, next_step
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import Archive, Arm, Halt, Phase, Rollout, Step, ToCanary, ToFull, arm
from fraud_assets.settings import Settings
from tests.rollout.made import ab, after, appoint, canary, full, halt, make_folder, shadow

LEVELS = (Level("q50", 0.1, 0.5), Level("q90", 0.4, 0.1))
GUARD = Guard(Limits(), LEVELS)
SHADOW = after(appoint(), shadow())
CANARY = after(appoint(), shadow(), canary())


def payments(
    rng: np.random.Generator,
    n: int,
    *,
    denies: float = 0.015,
    champion: float = 0.01,
    late: float = 0.002,
    failing: float = 0.0,
    absent: float = 0.0,
    at_ms: int = 0,
) -> Scored:
    """Scores whose shares above 0.1 and 0.4 are those of LEVELS; denials of the champion's are denied by both. Ten a second."""
    u = rng.random(n)
    scores = np.where(u < 0.5, 0.05, np.where(u < 0.9, 0.2, 0.7))
    asked = rng.random(n) >= absent
    scores[(rng.random(n) < failing) | ~asked] = np.nan
    return Scored(
        at_ms=at_ms + 100 * np.arange(n),
        own=np.ones(n, bool),
        asked=asked,
        scores=scores,
        denied=u > 1 - denies,
        champion_denied=(u > 1 - champion).astype(float),
        took_ms=np.where(asked, np.where(rng.random(n) < late, 80.0, 0.3), np.nan),
        champion_took_ms=np.full(n, 0.3),
    )


def labels(rng: np.random.Generator, n: int, *, fpr: float = 0.01, missed: float = 0.005) -> Matured:
    """Of payments that were let through, 2 % are fraud, of which the challenger would let `missed` of all through."""
    u = rng.random(n)
    is_fraud = u < 0.02
    denied = np.where(is_fraud, u >= missed, rng.random(n) < fpr)
    return Matured(is_fraud=is_fraud, denied=denied, amount_minor=rng.integers(500, 20_000, n))


def judged(scored: Scored | None = None, matured: Matured | None = None, guard: Guard = GUARD) -> Judgement:
    return guard.judge(guard.fold(guard.begin(CANARY), scored, matured))


def findings(judgement: Judgement) -> dict[str, tuple[int, float | None]]:
    return {finding.name: (finding.n, finding.estimate) for finding in judgement.findings}


# ------------------------------------------------------------------------------------- what it counts


FOUR = Scored(
    at_ms=[1, 2, 3, 4],
    own=[False, True, False, True],
    asked=[True, True, True, True],
    scores=[0.05, 0.2, np.nan, 0.7],
    denied=[False, False, True, True],
    champion_denied=[1.0, 0.0, 0.0, 0.0],
    took_ms=[1, 11, 10, 2],
    champion_took_ms=[1.0, 1.0, 1.0, 1.0],
)


def test_each_question_counts_the_payments_it_is_about() -> None:
    """Four payments, of which the third got no score; three labels, of which one payment was let through by the challenger."""
    matured = Matured(is_fraud=[True, False, False], denied=[False, True, False], amount_minor=[25_000, 100, 100_000])

    found = findings(judged(FOUR, matured))

    assert found == {
        "errors": (0, None),  # as yet: their windows are not over
        "latency": (0, None),
        "absences": (0, None),
        "deny_rate": (3, pytest.approx(1 / 3)),
        "excess_denials": (3, 0.0),
        "fewer_denials": (3, 0.0),
        "scores_above_q50": (3, pytest.approx(2 / 3)),
        "scores_below_q50": (3, pytest.approx(1 / 3)),
        "scores_above_q90": (3, pytest.approx(1 / 3)),
        "scores_below_q90": (3, pytest.approx(2 / 3)),
        "false_positive_rate": (2, 0.5),
        # 25,000 of the cap 50,000 is fraud; 100,000 counts as the cap.
        "missed_value_share": (2, pytest.approx(0.5 / 1.5)),
    }
    assert judged(FOUR).own == 2


def test_of_what_comes_in_bursts_the_share_of_a_window_is_one_observation() -> None:
    """Four such payments every two seconds; slow is not who is slow together with the champion."""
    gathered = GUARD.begin(CANARY)
    for second in range(0, 60_000, 2_000):
        late: Any = {
            "at_ms": np.array([1, 2, 3, 4]) + second,
            "took_ms": [1, 11, 12, 2],
            "champion_took_ms": [1, 1, 13, 1],
        }
        gathered = GUARD.fold(gathered, dataclasses.replace(FOUR, **late))

    found = findings(GUARD.judge(gathered))

    # A window ends with the 50th payment, 26 seconds on: the first counts, and the second lies between.
    assert (found["errors"][0], found["latency"][0], found["absences"][0]) == (1, 1, 0)
    assert (found["errors"][1], found["latency"][1]) == (12 / 50, 13 / 50)


def test_what_nobody_asked_is_no_error_and_what_nobody_measured_not_in_time() -> None:
    rng = np.random.default_rng(3)
    away = payments(rng, 2_000, absent=1.0)

    found = findings(judged(away))

    assert (found["errors"], found["latency"], found["deny_rate"]) == ((0, None), (0, None), (0, None))
    assert found["absences"] == (2, 1.0)  # of minutes; 1.0 is their mean


def test_labels_and_what_stands_in_for_them_are_told_apart() -> None:
    by_basis = {finding.name: finding.basis for finding in judged().findings}

    assert by_basis["false_positive_rate"] == by_basis["missed_value_share"] == Basis.LABELS
    assert by_basis["deny_rate"] == by_basis["scores_above_q50"] == Basis.PROXY
    assert by_basis["excess_denials"] == by_basis["fewer_denials"] == Basis.PAIRED


def test_all_alarms_together_have_alpha() -> None:
    assert sum(1 / finding.threshold for finding in judged().findings) == pytest.approx(Limits().alpha)


def test_without_a_champion_beside_it_nothing_is_compared() -> None:
    """A new champion after full: the former one is not asked any more."""
    alone = dataclasses.replace(payments(np.random.default_rng(4), 10), champion_denied=np.full(10, np.nan))

    assert findings(judged(alone))["excess_denials"] == (0, None)
    assert findings(judged(alone))["deny_rate"] == (10, 0.0)


def test_levels_are_left_out_that_too_few_validation_scores_lie_beyond() -> None:
    scores = np.linspace(0, 1, 50 * MIN_BEYOND)

    names = [level.name for level in levels_of(scores)]

    assert names == ["q50", "q90"]  # a hundredth of these is 50
    assert levels_of(scores)[1].share == pytest.approx(0.1, abs=0.001)


def test_levels_that_ties_make_one_are_one() -> None:
    scores = np.repeat([0.1, 0.9], [19_000, 1_000])

    (level,) = levels_of(scores)

    assert (level.score, level.share) == (0.1, 0.05)


def test_without_validation_scores_drift_is_not_watched() -> None:
    names = {finding.name for finding in judged(guard=Guard(Limits(), levels_of([]))).findings}

    assert not [name for name in names if name.startswith("scores_")]


def test_the_limits_are_the_settings() -> None:
    assert Limits.of(Settings()) == Limits()
    assert Limits.of(Settings(rollout_alpha=0.05, rollout_max_fpr=0.1)) == Limits(alpha=0.05, max_fpr=0.1)


# --------------------------------------------------------------------------------------- what it says


def test_an_alarm_says_what_was_found_in_plain_words_and_numbers() -> None:
    rng = np.random.default_rng(1)

    judgement = judged(payments(rng, 1_000, denies=0.3))
    first = judgement.findings[0]

    assert judgement.verdict is Verdict.HALT
    assert (first.name, first.basis, first.alarmed, first.n) == ("excess_denials", Basis.PAIRED, True, 1_000)
    assert first.wealth > first.threshold == pytest.approx(900)
    assert first.alarmed_at is not None and first.alarmed_at < 200
    assert first.words == (
        "the challenger denies 30.40% more of all payments than the champion; at most 1.00% is tolerated (1,000 observations)"
    )
    assert first.words in judgement.words


def test_the_evidence_is_json_and_names_every_test() -> None:
    evidence = judged(payments(np.random.default_rng(1), 20_000, denies=0.9)).evidence()

    again = msgspec.json.decode(msgspec.json.encode(evidence))

    assert again == evidence
    assert len(evidence["findings"]) == 12
    assert evidence["verdict"] == "halt"
    assert all(np.isfinite(found["wealth"]) for found in evidence["findings"])


def test_what_was_gathered_survives_json_and_goes_on() -> None:
    """A sensor keeps it in its cursor between two looks."""
    rng = np.random.default_rng(2)
    first, second = payments(rng, 700), payments(rng, 900)
    once = GUARD.fold(GUARD.begin(CANARY), first)

    again = msgspec.json.decode(msgspec.json.encode(once), type=Gathered)

    assert GUARD.fold(again, second) == GUARD.fold(once, second)


# -------------------------------------------------------------------------------------- what it does

REGRESSIONS: dict[str, Any] = {
    "excess_denials": {"denies": 0.1},
    "fewer_denials": {"denies": 0.0, "champion": 0.08},
    "deny_rate": {"denies": 0.15, "champion": 0.15},
    "latency": {"late": 0.3},
    "errors": {"failing": 0.1},
}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_each_regression_is_found_within_a_thousand_payments(name: str) -> None:
    judgement = judged(payments(np.random.default_rng(5), 1_000, **REGRESSIONS[name]))

    assert name in {finding.name for finding in judgement.findings if finding.alarmed}


@pytest.mark.parametrize(
    ("name", "regression"), [("false_positive_rate", {"fpr": 0.1}), ("missed_value_share", {"missed": 0.02})]
)
def test_each_regression_that_only_labels_show_is_found_by_them(name: str, regression: dict[str, float]) -> None:
    """Of the second, all of the 2 % of fraud is let through, which is the most that is tolerated: a tighter bound here."""
    guard = Guard(Limits(max_missed_share=0.005))

    judgement = judged(matured=labels(np.random.default_rng(5), 5_000, **regression), guard=guard)

    assert [finding.name for finding in judgement.findings if finding.alarmed] == [name]


@pytest.mark.parametrize("towards", ["higher", "lower"])
def test_scores_that_drift_either_way_are_found(towards: str) -> None:
    scored = payments(np.random.default_rng(6), 1_000)
    moved = np.where(np.random.default_rng(7).random(1_000) < 0.8, 0.7 if towards == "higher" else 0.05, scored.scores)

    judgement = judged(dataclasses.replace(scored, scores=moved))

    alarmed = {finding.name for finding in judgement.findings if finding.alarmed}
    assert alarmed and alarmed <= {
        f"scores_{'above' if towards == 'higher' else 'below'}_{name}" for name in ("q50", "q90")
    }


def test_a_sound_challenger_is_left_alone() -> None:
    """Twenty-five phases of 12,000 payments and as many labels: a false alarm in 1 % of phases allows one or two."""
    rng, halted = np.random.default_rng(8), 0
    for _ in range(25):
        gathered = GUARD.begin(CANARY)
        for part in range(4):
            gathered = GUARD.fold(gathered, payments(rng, 3_000, at_ms=300_000 * part), labels(rng, 3_000))
        halted += GUARD.judge(gathered).verdict is Verdict.HALT

    assert halted <= 2


@pytest.mark.parametrize(
    ("rollout", "step"),
    [(SHADOW, ToCanary), (CANARY, ToFull), (after(appoint(), shadow(), canary(), full()), Archive)],
    ids=["shadow", "canary", "full"],
)
def test_a_phase_ends_well_when_its_time_is_over_and_enough_was_seen(rollout: Rollout, step: type[Step]) -> None:
    rng, late = np.random.default_rng(9), rollout.since_ms + 10_000
    few = GUARD.fold(GUARD.begin(rollout), payments(rng, 999))
    enough = GUARD.fold(few, payments(rng, 1))

    assert next_step(rollout, GUARD.judge(few), late, "guard") is None
    assert next_step(rollout, GUARD.judge(enough), rollout.since_ms, "guard") is None
    taken = next_step(rollout, GUARD.judge(enough), late, "guard")

    assert type(taken) is step
    assert (taken.who, taken.evidence["enough"]) == ("guard", True)
    assert taken.why == "its time is over, and none of 12 tests alarms"


@pytest.mark.parametrize(
    "rollout",
    [SHADOW, CANARY, after(appoint(), ab()), after(appoint(), shadow(), canary(), full())],
    ids=lambda rollout: str(rollout.phase),
)
def test_an_alarm_halts_every_phase_that_is_watched(rollout: Rollout) -> None:
    bad = GUARD.judge(GUARD.fold(GUARD.begin(rollout), payments(np.random.default_rng(1), 1_000, denies=0.3)))

    step = next_step(rollout, bad, 5, "guard")

    assert isinstance(step, Halt)
    assert "the challenger denies" in step.why


def test_an_alarm_halts_nobody_where_nothing_is_tried() -> None:
    rollout = after(appoint(), shadow(), halt())
    bad = GUARD.judge(GUARD.fold(GUARD.begin(rollout), payments(np.random.default_rng(1), 1_000, denies=0.3)))

    assert next_step(rollout, bad, 5, "guard") is None


def test_evidence_of_another_phase_moves_nobody() -> None:
    of_shadow = GUARD.judge(GUARD.begin(SHADOW))

    with pytest.raises(OtherEvidence, match="of step 2; the rollout is at 3"):
        next_step(CANARY, of_shadow, 5, "guard")


def test_evidence_within_other_bounds_is_not_mixed() -> None:
    gathered = GUARD.begin(CANARY)
    other = Guard(Limits(max_fpr=0.5), LEVELS)

    with pytest.raises(OtherEvidence, match="within other bounds"):
        other.judge(gathered)
    with pytest.raises(OtherEvidence):
        other.fold(gathered)


# ------------------------------------------------------------------------------------------- R19


def requests(rng: np.random.Generator) -> Iterator[tuple[str, Scored]]:
    """Payments of many accounts, one after another; the challenger denies every fifth, wherever it is asked."""
    while True:
        yield f"account-{rng.integers(10_000)}", payments(rng, 1, denies=0.2)


def test_a_bad_challenger_is_halted_within_a_thousand_canary_requests_and_nobody_gets_it_any_more(
    tmp_path: Path,
) -> None:
    """Of the canary's own requests alone, and with the log in between: after the halt every account has the champion."""
    v1, v2, _ = make_folder(tmp_path)
    log = PromotionLog(tmp_path)
    rollout = log.settle(1)
    for step in (shadow(v2), canary()):
        rollout = log.move(rollout, step)
    gathered, n = GUARD.begin(rollout), 0

    for account, scored in requests(np.random.default_rng(10)):
        if arm(rollout, account) is Arm.CHAMPION:
            continue
        n += 1
        gathered = GUARD.fold(gathered, scored)
        step_now = next_step(rollout, GUARD.judge(gathered), 10, "guard")
        if step_now is not None:
            break
        assert n < 1_000, "not halted within 1,000 canary requests"
    assert step_now is not None
    halted = log.move(rollout, step_now)

    assert (halted.phase, halted.champion, halted.challenger) == (Phase.HALTED, v1, None)
    assert read_champion(tmp_path) == v1
    assert {arm(halted, f"account-{number}") for number in range(1_000)} == {Arm.CHAMPION}
    assert log.entries()[-1].step.evidence["verdict"] == "halt"


def test_a_bad_champion_after_full_is_reverted(tmp_path: Path) -> None:
    v1, v2, _ = make_folder(tmp_path)
    log = PromotionLog(tmp_path)
    rollout = log.settle(1)
    for step in (shadow(v2), canary(), full()):
        rollout = log.move(rollout, step)
    gathered = GUARD.fold(GUARD.begin(rollout), payments(np.random.default_rng(11), 1_000, denies=0.2))

    reverting = next_step(rollout, GUARD.judge(gathered), 10, "guard")
    assert reverting is not None
    reverted = log.move(rollout, reverting)

    assert (reverted.phase, reverted.champion, read_champion(tmp_path)) == (Phase.REVERTED, v1, v1)
