"""A detector of one world, judged in another."""

import json
from pathlib import Path

import numpy as np
import pytest

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.evaluate.across import judged, main
from simulator.history import write_history
from simulator.spec import DAY_MS, WorldSpec

KEY = TokenKey.of("test", "a-secret-that-only-tests-know")


def test_each_kind_is_ranked_against_the_honest_alone() -> None:
    """The first kind stands first; the second below one honest payment, and the first does not count against it."""
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
    truth = np.array([True, True, False, True, False])
    labels = np.array([True, False, False, False, False])

    found = judged(score, labels, truth, ["loud", "loud", None, "quiet", None])

    assert found["by_kind"] == {
        "loud": {"frauds": 2, "average_precision": 1.0, "recall_at_1pct_fpr": 1.0},
        "quiet": {"frauds": 1, "average_precision": 0.5, "recall_at_1pct_fpr": 0.0},
    }
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3, abs=1e-3)
    assert found["average_precision_by_labels"] == 1.0
    assert found["in_band"]


def test_a_perfect_detector_is_out_of_the_band() -> None:
    truth = np.array([True, False, False])

    assert not judged(np.array([0.9, 0.1, 0.2]), truth, truth, ["loud", None, None])["in_band"]


def history(folder: Path, seed: int) -> Path:
    spec = WorldSpec(seed=seed, start_ms=20_000 * DAY_MS, days=12, rate_per_day=700, accounts=1_500, events=60)
    write_history(spec, folder / "lake", KEY)
    return folder / "lake"


def test_what_is_learnt_in_one_world_holds_in_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = history(tmp_path / "a", 1), history(tmp_path / "b", 2)

    code = main(["--train", str(train), "--test", str(test), "--delay-days", "4", "--warm-up-days", "2"])

    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found["average_precision"] > 20 * found["frauds"] / found["judged"]
    assert "account_takeover" in found["by_kind"]


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--train", str(tmp_path), "--test", str(tmp_path)])

    assert code == 2
    assert "NoWorld" in capsys.readouterr().err
