"""Whose holdouts are kept, and that a version's expected scores are its own whatever was trained since."""

from pathlib import Path

import numpy as np
import pytest

from fraud_assets.models.artifact import write_artifact
from fraud_assets.stores.keyed_tables import keys
from fraud_assets.training.as_of import note_model
from fraud_assets.training.holdout import (
    HOLDOUTS,
    Holdout,
    forget_holdouts,
    holdout_scores,
    load_holdout,
    save_holdout,
)
from tests.models.made import Trained
from tests.training.trials import T0, Trial, calm

ROWS = 2_000


def save(root: str, version: str, scores: np.ndarray) -> None:
    n = len(scores)
    found = Holdout(
        ("f",), [f"a\x00{i}" for i in range(n)], np.arange(n), np.zeros(n, bool), np.ones(n), scores.astype(np.float32),
        {"all": np.ones(n, bool)}, np.zeros((n, 1), np.float32),
    )  # fmt: skip
    save_holdout(root, version, found)


@pytest.fixture
def models(tmp_path: Path, trained: Trained) -> Path:
    """v0, the oldest, to v5."""
    for number in range(6):
        manifest = trained.manifest(f"v{number}", created_at_ms=1_000 + number)
        write_artifact(tmp_path / "models" / f"v{number}", trained.booster_json, manifest)
    return tmp_path / "models"


def test_the_newest_holdouts_and_those_that_are_named_are_kept(models: Path, tmp_path: Path) -> None:
    """v9, whose model is gone, goes first; names that are older than their numbers say go by when they were trained."""
    root = str(tmp_path / "training")
    for version in ("v0", "v1", "v2", "v3", "v4", "v5", "v9"):
        save(root, version, np.zeros(3))

    gone = forget_holdouts(root, models, {"v1", "v5"}, last=2)

    assert gone == ["v9", "v0", "v2"]
    assert keys(root, HOLDOUTS) == ["model=v1", "model=v3", "model=v4", "model=v5"]
    assert len(load_holdout(root, "v3")) == 3
    assert forget_holdouts(root, models, {"v1", "v5"}, last=2) == []


def test_where_nothing_was_trained_nothing_is_forgotten(tmp_path: Path) -> None:
    assert forget_holdouts(str(tmp_path / "training"), tmp_path / "models", set(), last=0) == []
    assert len(holdout_scores(str(tmp_path / "training"), "v1")) == 0


def test_a_second_training_of_the_day_leaves_the_drift_levels_of_the_version_on_trial(
    tmp_path: Path, trained: Trained
) -> None:
    """The day then names another version; v2, which challenges, is still held to its own scores."""
    trial = Trial.made(tmp_path / "var", trained)
    root = f"{trial.settings.var_dir}/training"
    save(root, "v2", np.linspace(0, 1, ROWS))
    note_model(trial.settings.model_dir, "2026-10-01", "v2")
    trial.decided(calm(10))
    before = trial.look(T0 + 60_000)

    save(root, "v3", np.zeros(ROWS))
    note_model(trial.settings.model_dir, "2026-10-01", "v3")
    after = trial.look(T0 + 61_000)

    assert before.place is not None and after.place is not None
    assert "scores_above_q90" in before.place.gathered.tests
    assert after.place.gathered == before.place.gathered
