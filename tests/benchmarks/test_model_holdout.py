"""The model's holdout in worlds of the simulator: what is counted at its thresholds."""

import math

import numpy as np
import pytest

from benchmarks.model_holdout import LABELS, SHARES, TRUTH, TRUTH_OF_WEEK, by_attack, caught, holdout, shares
from fraud_assets.models.manifest import Thresholds

SCORE = np.array([0.9, 0.6, 0.4, 0.4, 0.1, 0.1, 0.1, 0.1])
FRAUD = np.array([True, False, True, False, True, False, False, False])


def test_shares_are_counted_at_deny_and_frauds_stopped_at_review() -> None:
    """Denied: one fraud and one good customer of eight; looked at: another of each; the third fraud passes."""
    found = shares(SCORE, FRAUD, Thresholds(review=0.3, deny=0.5))

    assert found == pytest.approx(
        {
            "accuracy": 5 / 8, "fpr": 1 / 5, "recall": 1 / 3, "precision": 1 / 2,
            "recall_with_review": 2 / 3, "accuracy_of_letting_all_pass": 5 / 8,
        }
    )  # fmt: skip


def test_a_share_of_nothing_is_not_a_number() -> None:
    assert math.isnan(shares(SCORE, FRAUD, Thresholds(review=0.95, deny=0.95))["precision"])


def test_worlds_stand_one_by_one_and_together_in_per_cent() -> None:
    worlds = {seed: dict.fromkeys((TRUTH, LABELS, TRUTH_OF_WEEK), dict.fromkeys(SHARES, value)) for seed, value in ((1, 0.5), (2, 0.25))}  # fmt: skip

    lines = holdout(worlds).splitlines()

    assert lines[2].split(" | ")[:3] == ["| 1", TRUTH, "50.00"]
    assert lines[4].split(" | ")[:3] == ["| all", TRUTH, "37.50 ± 17.68"]
    assert len(lines) == 2 + 3 * 3


def test_an_attack_is_caught_by_what_was_denied_of_its_frauds() -> None:
    """The honest payment that an attack rode on is none of its frauds."""
    attacks = ["burst", "burst", "burst", None, "ring", None, None, None]

    assert caught(SCORE, FRAUD, attacks, Thresholds(review=0.3, deny=0.5)) == {"burst": (2, 1, 2), "ring": (1, 0, 0)}


def test_attacks_are_counted_over_worlds_and_the_best_caught_stand_first() -> None:
    lines = by_attack([{"ring": (1, 0, 0), "burst": (2, 1, 2)}, {"burst": (2, 2, 2)}]).splitlines()

    assert lines[2:] == ["| burst | 4 | 75.0 | 100.0 |", "| ring | 1 | 0.0 | 0.0 |"]
