"""What is written beside a model: counts by hand, curves and bins as scikit-learn has them, slices by who belongs."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, precision_recall_curve

from fraud_assets.features.catalogue.sources import TRANSACTIONS
from fraud_assets.models.artifact import write_artifact
from fraud_assets.models.manifest import RefusedModel, Thresholds
from fraud_assets.training.evaluation import EVALUATION_FILE, Confusion, Evaluation, read_evaluation
from fraud_assets.training.judging import calibration_of, evaluate, pr_curve
from fraud_assets.training.metrics import (
    calibration_gap_error,
    calibration_slope,
    expected_calibration_error,
    reliability,
)
from fraud_assets.training.slices import slices_of
from tests.models.made import Trained

SCORE = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
FRAUD = np.array([True, False, True, True, False, False])


def noisy(n: int = 4_000, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with the scores as their chances, so that these are right."""
    rng = np.random.default_rng(seed)
    score = rng.beta(0.3, 6.0, n).clip(1e-6, 1 - 1e-6)
    return rng.random(n) < score, score


def evaluated(score: np.ndarray = SCORE, fraud: np.ndarray = FRAUD) -> Evaluation:
    slices = {"all": np.ones(len(score), bool), "last three": np.arange(len(score)) >= len(score) - 3}
    return evaluate(
        score, fraud, slices, Thresholds(review=0.25, deny=0.5),
        day=np.zeros(len(score), int), cost_minor=7.0, days=0.5, importances={"x": 2.0},
    )  # fmt: skip


def test_confusion_is_counted_at_the_threshold_by_hand() -> None:
    """.9 and .7 are caught, .8 is refused wrongly, .3 is missed: F1 is 2·2 / (2·2 + 1 + 1)."""
    found = Confusion.at(0.5, SCORE, FRAUD)

    assert found == Confusion(true_positives=2, false_positives=1, false_negatives=1, true_negatives=2)
    assert (found.accuracy, found.recall, found.precision, found.fpr) == (4 / 6, 2 / 3, 2 / 3, 1 / 3)
    assert found.f1 == pytest.approx(2 / 3) == f1_score(FRAUD, SCORE >= 0.5)


def test_a_score_at_the_threshold_is_denied() -> None:
    """As `Thresholds` says and the scorer does."""
    assert Confusion.at(0.9, SCORE, FRAUD).true_positives == 1


def test_a_share_of_nothing_is_null_and_not_zero() -> None:
    nothing_denied = Confusion.at(1.0, SCORE, FRAUD)
    no_fraud = Confusion.at(0.5, SCORE, np.zeros(6, bool))

    assert nothing_denied.precision is None and nothing_denied.recall == 0.0 and nothing_denied.f1 == 0.0
    assert no_fraud.recall is None and no_fraud.f1 == 0.0


def test_slices_and_the_reviewers_day_are_counted_by_hand() -> None:
    """One payment of half a day, .3, lies between the thresholds: two a day."""
    found = evaluated()

    assert list(found.slices) == ["all", "last three"]
    assert found.slices["last three"].confusion == Confusion(0, 0, 1, 2)
    assert found.slices["last three"].average_precision == 1.0
    assert found.reviews_per_day == 2.0


def test_a_slice_of_one_kind_has_no_average_precision() -> None:
    found = evaluate(
        SCORE, FRAUD, {"all": np.ones(6, bool), "good": ~FRAUD, "nobody": np.zeros(6, bool)},
        Thresholds(review=0.5, deny=0.5), day=np.zeros(6, int), cost_minor=7.0, days=1, importances={},
    )  # fmt: skip

    assert found.slices["good"].average_precision is None
    assert found.slices["nobody"].rows == 0


def test_every_point_of_the_curve_is_one_of_scikit_learns_and_its_ends_are_kept() -> None:
    fraud, score = noisy()
    precision, recall, threshold = precision_recall_curve(fraud, score)
    real = set(zip(recall[:-1].tolist(), precision[:-1].tolist(), threshold.tolist(), strict=True))

    found = pr_curve(fraud, score, points=30)

    assert 20 <= len(found.recall) <= 30
    assert set(zip(found.recall, found.precision, found.threshold, strict=True)) <= real
    assert found.recall == sorted(found.recall) and found.recall[-1] == 1.0
    assert found.recall[0] == recall[:-1].min()


def test_of_equal_recalls_the_curve_takes_the_one_that_denies_the_fewest() -> None:
    """At recall 1/3 either .9 alone is denied, or .8 too."""
    found = pr_curve(FRAUD, SCORE)

    assert found.threshold == [0.9, 0.7, 0.3]
    assert found.precision == [1.0, 2 / 3, 3 / 4]


def test_reliability_has_the_bins_of_scikit_learn_and_their_counts() -> None:
    fraud, score = noisy()
    observed, predicted = calibration_curve(fraud, score, n_bins=20, strategy="quantile")

    found = reliability(fraud, score, 20)

    np.testing.assert_allclose(found.observed, observed)
    np.testing.assert_allclose(found.predicted, predicted)
    assert found.rows.sum() == len(score) and (found.rows == 200).all()


def test_calibration_error_is_the_weighed_distance_by_hand() -> None:
    """{.1, .2, .7} holds one fraud of three, as it should; {.8, .9} one of two and not .85."""
    found = reliability(np.array([False, False, True, True, False]), np.array([0.1, 0.2, 0.7, 0.8, 0.9]), 2)

    assert found.rows.tolist() == [3, 2]  # the median itself belongs to the lower bin
    assert expected_calibration_error(found) == pytest.approx((3 * abs(1 / 3 - 1 / 3) + 2 * abs(0.5 - 0.85)) / 5)


def test_equal_scores_share_a_bin() -> None:
    """Or the order of the rows would decide."""
    found = reliability(np.arange(100) < 3, np.full(100, 0.02), 20)

    assert found.rows.tolist() == [100]
    assert expected_calibration_error(found) == pytest.approx(0.01)


def test_scores_that_are_chances_have_slope_one_and_too_sure_ones_less() -> None:
    """Log odds doubled want to be halved."""
    fraud, score = noisy(40_000)
    odds = score / (1 - score)

    assert calibration_slope(fraud, score) == pytest.approx(1.0, abs=0.05)
    assert calibration_slope(fraud, odds**2 / (1 + odds**2)) == pytest.approx(0.5, abs=0.03)


def test_brier_and_gap_by_hand() -> None:
    found = calibration_of(np.array([True, False]), np.array([0.6, 0.2]), np.array([0, 1]))

    assert found.brier == pytest.approx((0.4**2 + 0.2**2) / 2)
    assert found.gap == pytest.approx(abs(0.4 - 0.5))


def test_the_gaps_error_is_scipys_where_every_day_has_one_payment() -> None:
    """A cluster of one is no cluster: the plain standard error of a mean, but for n − 1 in place of n."""
    fraud, score = noisy(400)

    found = calibration_gap_error(fraud, score, np.arange(400))

    assert found == pytest.approx(stats.sem(score - fraud))


def test_frauds_that_come_on_one_day_are_one_attack_and_not_many_draws() -> None:
    """Ten frauds of a thousand on ten days, or all on one: the second says less about the share, three times by hand.

    Residuals 0.01 − y: on the day of the attack they add up to 1 − 10, on the nine others to 1; √(81 + 9) against
    √(10 · 0). Spread evenly every day adds up to nothing.
    """
    score, day = np.full(1_000, 0.01), np.arange(1_000) // 100
    evenly, at_once = np.arange(1_000) % 100 == 0, (np.arange(1_000) < 10)

    assert calibration_gap_error(evenly, score, day) == pytest.approx(0, abs=1e-12)
    assert calibration_gap_error(at_once, score, day) == pytest.approx((10 / 9 * 90) ** 0.5 / 1_000)


def test_of_one_day_the_gaps_error_is_not_known() -> None:
    assert calibration_gap_error(FRAUD, SCORE, np.zeros(6, int)) is None


def test_slices_are_by_what_the_service_knows() -> None:
    """Codes are lexical ranks from 1: payment methods are bank, card, voucher, wallet."""
    names = ("tier", "account_first_seen_age_s", "payment_method")
    day_s = 86_400
    features = np.array(
        [[1, np.nan, 2], [2, 0, 2], [3, 6.9 * day_s, 4], [3, 7 * day_s, 4], [2, 99 * day_s, 2]], np.float32
    )
    amount = np.array([1.0, 2.0, 3.0, 4.0, 50.0])

    found = {
        name: np.flatnonzero(member).tolist()
        for name, member in slices_of(names, features, amount, TRANSACTIONS).items()
    }

    assert found == {
        "all": [0, 1, 2, 3, 4],
        "new_accounts": [0, 1, 2],
        "high_amounts": [4],
        "payment_method=card": [0, 1, 4],
        "payment_method=wallet": [2, 3],
        "tier=premium": [0],
        "tier=standard": [1, 4],
        "tier=vip": [2, 3],
    }


def test_an_evaluation_lies_beside_its_model_and_a_changed_one_is_refused(tmp_path: Path, trained: Trained) -> None:
    raw = msgspec.json.encode(evaluated())
    manifest = write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest(), {EVALUATION_FILE: raw})

    assert read_evaluation(tmp_path, manifest) == evaluated()

    (tmp_path / "v1" / EVALUATION_FILE).write_bytes(raw.replace(b"0.25", b"0.35"))
    with pytest.raises(RefusedModel, match="hash_mismatch"):
        read_evaluation(tmp_path, manifest)


def test_a_model_made_before_there_were_evaluations_has_none(tmp_path: Path, trained: Trained) -> None:
    manifest = write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest())

    assert read_evaluation(tmp_path, manifest) is None
