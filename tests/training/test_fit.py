"""Splits, threshold and fit: no label leaps the gap, thresholds follow costs, the same rows give the same bytes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.artifact import publish_champion, read_champion
from fraud_assets.models.manifest import MODEL_FILE, Definitions
from fraud_assets.training.as_of import latest_model
from fraud_assets.training.dataset import TrainingSet, training_set, window_as_of
from fraud_assets.training.evaluation import read_evaluation
from fraud_assets.training.fit import fit, thinned
from fraud_assets.training.gates import Candidate, loads_and_agrees, ranks_better_than_chance, spares_good_customers
from fraud_assets.training.money import UnknownCurrency, euro_cents
from fraud_assets.training.recipe import read_recipe
from fraud_assets.training.run import Trained, clusters, train
from fraud_assets.training.space import Range, SearchSpace
from fraud_assets.training.split import SplitKind, TooShort, folds, stratified_split, temporal_split
from fraud_assets.training.threshold import CostTable, cheapest_threshold
from fraud_assets.training.tune import Budget
from tests.history import END_MS, LABEL_DELAY_DAYS, Past
from tests.training.toy import halves, toy

SMALL = SearchSpace((Range(name="max_depth", low=3, high=3, default=3, whole=True, reason="a test"),))
ONE = Budget(trials=0)


def test_training_ends_a_label_delay_before_validation_begins() -> None:
    time = np.arange(40, dtype=np.int64) * DAY_MS
    is_fraud = np.arange(40) % 2 == 0

    split = temporal_split(time, is_fraud, 0, 40 * DAY_MS, label_delay_days=7)

    assert time[split.validate].min() == 30 * DAY_MS
    assert time[split.train].max() == 22 * DAY_MS


def test_a_window_too_short_for_the_gap_is_refused_with_its_length() -> None:
    with pytest.raises(TooShort, match=r"4\.0 days and the label gap 7"):
        temporal_split(np.arange(4, dtype=np.int64) * DAY_MS, np.array([True, False] * 2), 0, 4 * DAY_MS, 7)


def test_parts_of_minutes_keep_a_gap_that_leaves_something_to_learn_from() -> None:
    """A day between parts of a minute would leave out everything."""
    time = np.arange(300, dtype=np.int64) * 1_000

    newest = folds(time, np.arange(300) % 2 == 0)[-1]

    assert time[newest.validate].min() == 240_000
    assert time[newest.train].max() == 219_000


def test_a_window_of_minutes_is_made_of_parts_of_it_where_others_are_of_days() -> None:
    minutes, month = np.arange(360, dtype=np.int64) * 1_000, np.arange(30, dtype=np.int64) * DAY_MS

    assert len(np.unique(clusters(minutes))) in (8, 9)
    assert clusters(month).tolist() == list(range(30))
    assert clusters(np.array([5], np.int64)).tolist() == [5]


def test_a_window_of_minutes_ends_a_delay_of_seconds_before_what_is_known() -> None:
    window = window_as_of(1_000_000, 6 / 1_440, 30 / 86_400)

    assert (window.from_ms, window.to_ms) == (610_000, 970_000)


def test_a_stratified_quarter_holds_a_quarter_of_the_frauds_wherever_they_lie_in_time() -> None:
    """All of them on the first days; the newest quarter would hold none."""
    is_fraud = np.arange(1_000) < 40

    split = stratified_split(is_fraud, seed=3)

    assert (len(split.validate), is_fraud[split.validate].sum()) == (250, 10)
    assert sorted([*split.train.tolist(), *split.validate.tolist()]) == list(range(1_000))
    assert np.array_equal(split.validate, stratified_split(is_fraud, seed=3).validate)
    assert not np.array_equal(split.validate, stratified_split(is_fraud, seed=4).validate)


def test_one_fraud_is_not_enough_to_stratify() -> None:
    with pytest.raises(TooShort, match="250 rows and 0 frauds"):
        stratified_split(np.arange(1_000) < 1, seed=3)


def test_folds_score_every_row_once_and_learn_from_none_within_a_day_of_it() -> None:
    time = np.random.default_rng(5).integers(0, 40 * DAY_MS, 3_000)
    is_fraud = np.arange(3_000) % 10 == 0

    found = folds(time, is_fraud)

    assert sorted(np.concatenate([one.validate for one in found]).tolist()) == list(range(3_000))
    for one in found:
        scored = time[one.validate]
        near = (time[one.train] >= scored.min() - DAY_MS) & (time[one.train] < scored.max() + DAY_MS)
        assert not near.any()
        assert len(one.train) > 2_000


def test_folds_of_a_world_with_one_burst_are_refused() -> None:
    """Whoever scores the burst has then seen no fraud."""
    time = np.arange(40, dtype=np.int64) * DAY_MS

    with pytest.raises(TooShort, match="rest of a fold has 30 rows and 0 frauds"):
        folds(time, (time >= 24 * DAY_MS) & (time < 30 * DAY_MS))


# Without doubt: the least of all.
PLAIN = CostTable(chargeback_fee_minor=0, false_decline_minor=30, max_fpr=1.0, doubt=0.0)


def test_the_threshold_is_where_the_cost_table_says_by_hand() -> None:
    # Catching .9 saves 100, reaching .6 costs 30 and saves 50, reaching .3 costs 30 and saves 20.
    score = np.array([0.9, 0.7, 0.6, 0.4, 0.3])
    is_fraud = np.array([True, False, True, False, True])
    amount = np.array([100, 1, 50, 1, 20])

    found = cheapest_threshold(score, is_fraud, amount, PLAIN)

    assert found.value == pytest.approx(0.5)
    assert found.recall == pytest.approx(2 / 3)
    assert (found.cost_minor, found.fpr) == (50.0, 0.5)


def test_of_thresholds_that_cannot_be_told_apart_the_highest_is_taken_by_hand() -> None:
    """Going from .8 down to .5 saves 50 and costs 30: 20 less, with a standard error of √(50² + 30²) = 58."""
    score = np.array([0.9, 0.7, 0.6, 0.4])
    is_fraud = np.array([True, False, True, False])
    amount = np.array([1_000, 1, 50, 1])

    doubting = cheapest_threshold(score, is_fraud, amount, replace(PLAIN, doubt=0.35))
    sure = cheapest_threshold(score, is_fraud, amount, replace(PLAIN, doubt=0.34))

    assert doubting.value == pytest.approx(0.8)
    assert doubting.cost_minor == 50.0
    assert sure.value == pytest.approx(0.5)
    assert sure.cost_minor == 30.0


def test_one_dear_fraud_does_not_move_the_threshold_below_a_crowd_of_good_customers() -> None:
    """It alone pays for refusing ninety of them, and it is there or not by chance."""
    score = np.concatenate([np.linspace(0.9, 0.8, 50), np.linspace(0.3, 0.2, 90), [0.1], np.linspace(0.05, 0.0, 900)])
    is_fraud = np.concatenate([np.ones(50, bool), np.zeros(90, bool), [True], np.zeros(900, bool)])
    amount = np.concatenate([np.full(50, 20_000), np.zeros(90), [400_000], np.zeros(900)])
    costs = CostTable(max_fpr=0.2)

    found = cheapest_threshold(score, is_fraud, amount, costs)
    least = cheapest_threshold(score, is_fraud, amount, replace(costs, doubt=0.0))

    assert 0.25 < found.value < 0.81 and found.fpr == 0.0
    assert least.value < 0.1


def test_no_threshold_refuses_more_good_customers_than_allowed() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.1])
    costs = CostTable(max_fpr=0.0, doubt=0.0)

    found = cheapest_threshold(score, np.array([True, False, True, False]), np.full(4, 10**6), costs)

    assert found.fpr == 0.0
    assert found.value == pytest.approx(0.85)


def test_equal_scores_stand_or_fall_together() -> None:
    found = cheapest_threshold(
        np.array([0.5, 0.5, 0.2]), np.array([True, False, False]), np.array([10_000, 1, 1]), replace(PLAIN, doubt=0.9)
    )

    assert found.recall == 1.0
    assert found.fpr == 0.5


def test_amounts_of_all_currencies_weigh_what_they_are_worth() -> None:
    amount, currency = np.array([10_000, 1_010_000, 870]), ["EUR", "INR", "GBP"]

    assert euro_cents(amount, currency).tolist() == pytest.approx([10_000, 10_000, 1_000])
    assert euro_cents(amount, currency, {"INR": 50.5}).tolist() == pytest.approx([10_000, 20_000, 1_000])


def test_an_unknown_currency_is_named_with_the_way_out() -> None:
    with pytest.raises(UnknownCurrency, match=r"XAU\..*FRAUD_EXCHANGE_RATES='\{\"XAU\": 1\.0\}'"):
        euro_cents(np.array([1, 2]), ["EUR", "XAU"])


def test_thinning_keeps_every_fraud_and_the_base_rate() -> None:
    is_fraud = np.arange(10_000) % 1_000 == 0

    sample = thinned(np.arange(10_000), is_fraud, seed=1, per_fraud=10)

    assert is_fraud[sample.rows].sum() == 10
    assert len(sample) == 110
    assert sample.weight.sum() == pytest.approx(10_000)


def test_the_same_rows_and_seed_give_the_same_bytes() -> None:
    features, is_fraud, amount, split = toy()

    one, other = (
        fit(features, is_fraud, amount, split, ["a", "b"], folds=halves(), budget=ONE, space=SMALL).model_json()
        for _ in range(2)
    )

    assert one == other
    assert json.loads(one)["learner"]["feature_names"] == ["a", "b"]


def test_metrics_are_of_rows_that_the_model_had_not_seen() -> None:
    features, is_fraud, amount, split = toy()
    shuffled = is_fraud.copy()
    shuffled[split.validate] = np.random.default_rng(3).permutation(is_fraud[split.validate])

    honest = fit(features, is_fraud, amount, split, ["a", "b"], folds=halves(), budget=ONE, space=SMALL)
    chance = fit(features, shuffled, amount, split, ["a", "b"], folds=halves(), budget=ONE, space=SMALL)

    assert ranks_better_than_chance(honest.metrics).passed
    assert not ranks_better_than_chance(chance.metrics).passed


def test_the_threshold_rests_on_every_row_each_scored_by_a_model_of_the_others() -> None:
    """Labels of one half, shuffled, spoil the other half's scores and nothing of their own."""
    features, is_fraud, amount, split = toy()
    shuffled = is_fraud.copy()
    shuffled[1_000:] = np.random.default_rng(3).permutation(is_fraud[1_000:])

    honest = fit(features, is_fraud, amount, split, ["a", "b"], folds=halves(), budget=ONE, space=SMALL)
    half_known = fit(features, shuffled, amount, split, ["a", "b"], folds=halves(), budget=ONE, space=SMALL)

    assert honest.metrics["threshold_frauds"] == is_fraud.sum()
    assert honest.metrics["recall"] > 0.5
    assert half_known.metrics["recall"] < 0.3


def test_a_gate_says_what_it_measured() -> None:
    verdict = spares_good_customers({"fpr": 0.05, "recall": 0.9})

    assert not verdict.passed
    assert verdict.measured == {"fpr": 0.05, "at_most": 0.02, "recall": 0.9}


@pytest.fixture(scope="module")
def trained(past: Past, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingSet, Trained, Path]:
    model_dir = tmp_path_factory.mktemp("models")
    window = window_as_of(END_MS, 90, LABEL_DELAY_DAYS)
    found = training_set(past.lake, past.service, window)
    return found, train(found, past.service, model_dir, "2026-10-15", LABEL_DELAY_DAYS, ONE), model_dir


def candidate(past: Past, model_dir: Path, made: Trained) -> Candidate:
    definitions = Definitions.of(past.plan.registry, past.service.service)
    return Candidate(model_dir, str(model_dir / "training"), made.manifest.model_version, definitions)


def test_a_trained_model_loads_as_a_scorer_loads_it_and_agrees(
    past: Past, trained: tuple[TrainingSet, Trained, Path]
) -> None:
    _, made, model_dir = trained

    verdict = loads_and_agrees(candidate(past, model_dir, made))

    assert verdict.passed, verdict.measured
    assert float(verdict.measured["golden_vectors"]) > 32


def test_a_model_with_a_changed_byte_is_refused(
    past: Past, trained: tuple[TrainingSet, Trained, Path], tmp_path: Path
) -> None:
    found, made, _ = trained
    train(found, past.service, tmp_path, "2026-10-15", LABEL_DELAY_DAYS, ONE)
    path = tmp_path / made.manifest.model_version / MODEL_FILE
    path.write_bytes(path.read_bytes().replace(b'"0.', b'"1.', 1) + b" ")

    verdict = loads_and_agrees(candidate(past, tmp_path, made))

    assert not verdict.passed
    assert "hash_mismatch" in str(verdict.measured["refused"])


def test_training_again_gives_the_same_version_and_files(
    past: Past, trained: tuple[TrainingSet, Trained, Path], tmp_path: Path
) -> None:
    found, made, model_dir = trained

    again = train(found, past.service, tmp_path, "2026-10-15", LABEL_DELAY_DAYS, ONE)

    assert again.manifest.model_version == made.manifest.model_version
    assert again.manifest.files == made.manifest.files
    assert latest_model(model_dir, "2026-10-15") == made.manifest.model_version


def test_a_trained_model_carries_its_evaluation_which_agrees_with_its_metrics(
    trained: tuple[TrainingSet, Trained, Path],
) -> None:
    """And every row of the set is in it, frauds of each payment method among them."""
    found, made, model_dir = trained

    kept = read_evaluation(model_dir, made.manifest)

    assert kept is not None and kept == made.evaluation
    whole = kept.overall.confusion
    assert (whole.recall, whole.precision, whole.fpr) == tuple(
        made.manifest.metrics[name] for name in ("recall", "precision", "fpr")
    )
    assert (kept.overall.rows, whole.frauds) == (len(found), found.is_fraud.sum())
    methods = [one for name, one in kept.slices.items() if name.startswith("payment_method=")]
    assert sum(one.rows for one in methods) == len(found)
    assert {"new_accounts", "high_amounts"} < set(kept.slices)


def test_the_pointer_names_the_model_that_was_published(trained: tuple[TrainingSet, Trained, Path]) -> None:
    _, made, model_dir = trained

    publish_champion(model_dir, made.manifest.model_version)

    champion = read_champion(model_dir)
    assert champion is not None
    assert champion.version == made.manifest.model_version


def test_a_stratified_training_says_so_in_its_recipe(
    past: Past, trained: tuple[TrainingSet, Trained, Path], tmp_path: Path
) -> None:
    """A quarter of all rows validates; the default is temporal."""
    found, made, model_dir = trained

    other = train(found, past.service, tmp_path, "2026-10-15", LABEL_DELAY_DAYS, ONE, split_kind=SplitKind.STRATIFIED)

    kept, default = read_recipe(tmp_path, other.manifest), read_recipe(model_dir, made.manifest)
    assert kept is not None and kept.split is SplitKind.STRATIFIED
    assert default is not None and default.split is SplitKind.TEMPORAL
    assert other.manifest.metrics["validate_frauds"] == pytest.approx(found.is_fraud.sum() / 4, abs=1)


def test_other_costs_give_the_same_trees_another_version(
    past: Past, trained: tuple[TrainingSet, Trained, Path], tmp_path: Path
) -> None:
    """Decisions name the version, and its thresholds are why they were made."""
    found, made, _ = trained
    costs = CostTable(review_minor=1, reviews_per_day=5.0)

    other = train(found, past.service, tmp_path, "2026-10-15", LABEL_DELAY_DAYS, ONE, costs=costs)

    assert other.manifest.files[MODEL_FILE] == made.manifest.files[MODEL_FILE]
    assert other.manifest.model_version != made.manifest.model_version
    assert 0 < other.evaluation.reviews_per_day <= 5.0
    assert other.manifest.thresholds.review < other.manifest.thresholds.deny
