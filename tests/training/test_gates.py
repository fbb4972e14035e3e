"""Each gate passes and fails where its sentence says, by hand; whoever lacks evidence does not pass."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import publish_champion, write_artifact
from fraud_assets.models.manifest import Definitions, Thresholds
from fraud_assets.models.served import ServedModel
from fraud_assets.training.compare import Comparison, Side
from fraud_assets.training.evaluation import Confusion, Evaluation
from fraud_assets.training.gates import (
    GATES,
    Candidate,
    FailedGates,
    Limits,
    Verdict,
    calibrated,
    failures,
    judge,
    no_slice_worse,
    ranks_better_than_chance,
    recall_not_worse,
    require_gates,
    within_latency_budget,
)
from fraud_assets.training.judging import evaluate
from fraud_assets.training.latency import ATTEMPTS, REPEATS, row_us
from tests.models.made import Trained


def side(caught: int, cost_minor: float = 100.0, frauds: int = 100, **slices: tuple[int, int]) -> Side:
    """slices: caught of frauds."""
    counted = {name: Confusion(found, 5, of - found, 500) for name, (found, of) in slices.items()}
    return Side("v", {"all": Confusion(caught, 10, frauds - caught, 1_000), **counted}, cost_minor)


def compared(mine: Side, theirs: Side) -> Comparison:
    return Comparison(mine, theirs, rows=1_110, frauds=100, left_out=3)


@pytest.mark.parametrize(
    ("mine", "passes"),
    [
        (side(81, 900), True),  # more frauds, at any price
        (side(80, 100), True),  # as many for the same
        (side(80, 99), True),
        (side(80, 101), False),  # as many for more
        (side(79, 1), False),  # fewer, however cheap
    ],
)
def test_recall_is_up_or_equal_at_no_higher_cost(mine: Side, passes: bool) -> None:
    verdict = recall_not_worse(compared(mine, side(80, 100)))

    assert verdict.passed is passes
    assert (verdict.measured["champions_recall"], verdict.measured["rows_left_out"]) == (0.8, 3)


def test_a_slice_may_lose_two_points_of_recall_and_not_more() -> None:
    """One fraud of fifty is two points; floats make 0.02 of it and a little."""
    theirs = side(80, vip=(40, 50))

    assert no_slice_worse(compared(side(80, vip=(39, 50)), theirs)).passed
    worse = no_slice_worse(compared(side(80, vip=(38, 50)), theirs))
    assert not worse.passed
    assert worse.measured["worse"] == "vip by 0.040"


def test_a_slice_with_too_few_frauds_is_excluded_and_named() -> None:
    found = no_slice_worse(compared(side(80, vip=(0, 49), few=(3, 3)), side(80, vip=(49, 49), few=(0, 3))))

    assert found.passed
    assert found.measured["judged"] == "all"
    assert found.measured["too_few_frauds"] == "vip (49), few (3)"


def test_where_there_is_no_comparison_the_absolute_gates_remain_and_it_is_said() -> None:
    for gate in (recall_not_worse, no_slice_worse):
        assert gate("there is no champion yet") == Verdict(True, {"not_compared": "there is no champion yet"})


@pytest.mark.parametrize(("prior", "wanted"), [(0.01, 0.03), (0.2, 0.6), (0.3, 0.65), (0.6, 0.8)])
def test_ranking_is_three_times_chance_or_half_of_the_way_from_it_to_perfect_by_hand(
    prior: float, wanted: float
) -> None:
    """At a third of frauds a perfect ranking is three times chance, and beyond it there is none that is."""
    assert ranks_better_than_chance({"average_precision": wanted + 1e-9, "prior": prior}).passed
    assert not ranks_better_than_chance({"average_precision": wanted - 1e-3, "prior": prior}).passed


def evaluation(mean_score: float, days_of_fraud: int = 10) -> Evaluation:
    """Ten days of a thousand payments, a hundred of them frauds: as many on each of the days that have any."""
    row = np.arange(10_000)
    day, place = row // 1_000, row % 1_000
    fraud = (day < days_of_fraud) & (place < 100 // days_of_fraud)
    return evaluate(
        np.full(10_000, mean_score), fraud, {"all": np.ones(10_000, bool)}, Thresholds(review=1, deny=1), day=day,
        cost_minor=0, days=10, importances={},
    )  # fmt: skip


def test_the_mean_score_may_miss_the_share_of_fraud_by_a_quarter_of_it_by_hand() -> None:
    """Every day has its ten of a thousand: the share is 0.01, and chance has no part in it."""
    for within, beyond in ((0.01249, 0.01251), (0.00751, 0.00749)):
        assert calibrated(evaluation(within), Limits()).passed
        assert not calibrated(evaluation(beyond), Limits()).passed
    assert not calibrated(evaluation(0.0101), Limits(calibration_gap=0.0)).passed


def test_the_mean_score_may_also_miss_it_by_what_attacks_leave_uncertain_by_hand() -> None:
    """Twenty frauds on each of five days, none on five: each day misses by 10, so the error is √(10/9 · 10 · 100) / 10,000."""
    allowed = 0.25 * 0.01 + 2 * 0.003333

    assert calibrated(evaluation(0.01 + allowed - 1e-5, 5), Limits()).passed
    too_high = calibrated(evaluation(0.01 + allowed + 1e-5, 5), Limits())
    assert not too_high.passed and too_high.measured["at_most"] == pytest.approx(allowed, rel=1e-3)
    assert not calibrated(evaluation(0.01 - allowed - 1e-5, 5), Limits()).passed


def test_a_gap_whose_error_was_not_kept_does_not_pass() -> None:
    found = evaluation(0.01)
    before = msgspec.structs.replace(found, calibration=msgspec.structs.replace(found.calibration, gap_error=None))

    assert not calibrated(before, Limits()).passed


def test_a_model_without_an_evaluation_is_not_called_calibrated() -> None:
    verdict = calibrated(None, Limits())

    assert not verdict.passed
    assert "train it again" in str(verdict.measured["refused"])


@pytest.fixture
def candidate(tmp_path: Path, trained: Trained) -> Candidate:
    """As models were before they carried evaluations: the newer gates find no evidence."""
    metrics = {"average_precision": 0.5, "prior": 0.01, "fpr": 0.01, "recall": 0.7}
    write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest(metrics=metrics))
    definitions = Definitions.of(registry(), FRAUD_SCORING)
    return Candidate(tmp_path, str(tmp_path / "training"), "v1", definitions, Limits(row_us=1e6))


def test_a_model_that_scorers_load_is_measured_by_their_loader_and_held_to_the_budget(candidate: Candidate) -> None:
    generous = within_latency_budget(candidate)
    strict = within_latency_budget(replace(candidate, limits=Limits(row_us=0.001)))

    assert generous.passed and not strict.passed
    assert 0.001 < float(generous.measured["row_us"]) < 1e6
    assert float(generous.measured["trees"]) == 40


def test_a_model_that_scorers_refuse_is_not_measured(candidate: Candidate) -> None:
    (candidate.model_dir / "v1" / "model.json").write_bytes(b"{}")

    verdict = within_latency_budget(candidate)

    assert not verdict.passed
    assert "hash_mismatch" in str(verdict.measured["refused"])


def clock(row_times_us: list[float], rows: int) -> Iterator[int]:
    """Begin and end of each repeat, of which every row takes so long."""
    for taken in row_times_us:
        yield 0
        yield int(taken * 1_000 * rows)


@pytest.fixture
def served(candidate: Candidate) -> ServedModel:
    assert isinstance(candidate.served, ServedModel)
    return candidate.served


def test_a_busy_moment_does_not_fail_a_fast_model(served: ServedModel) -> None:
    """Most repeats of the first attempts are slow; those of the third are not."""
    rows = len(served.manifest.golden.scores)
    times = [50.0] * REPEATS * 2 + [50.0] * (REPEATS // 2) + [9.0] * (REPEATS - REPEATS // 2)
    ticks = clock(times, rows)

    assert row_us(served, 15.0, lambda: next(ticks)) == pytest.approx(9.0)


def test_a_slow_model_fails_however_often_it_is_measured_and_one_lucky_repeat_does_not_save_it(
    served: ServedModel,
) -> None:
    rows = len(served.manifest.golden.scores)
    ticks = clock(([3.0] + [20.0] * (REPEATS - 1)) * ATTEMPTS, rows)

    assert row_us(served, 15.0, lambda: next(ticks)) == pytest.approx(20.0)
    assert next(ticks, None) is None  # every attempt was made


def test_every_gate_is_asked_and_one_without_evidence_does_not_pass(candidate: Candidate) -> None:
    publish_champion(candidate.model_dir, "v1")
    other = msgspec.structs.replace(candidate.manifest, model_version="v2")
    write_artifact(candidate.model_dir / "v2", (candidate.model_dir / "v1" / "model.json").read_bytes(), other)

    verdicts = judge(replace(candidate, version="v2"))

    assert set(verdicts) == set(GATES)
    assert set(failures(verdicts)) == {"calibrated", "recall_not_worse", "no_slice_worse"}
    assert "materialize fraud_model again" in failures(verdicts)["recall_not_worse"]


def test_promotion_requires_all_of_them_and_names_what_failed(candidate: Candidate) -> None:
    with pytest.raises(FailedGates, match="v1 fails calibrated"):
        require_gates(candidate)
