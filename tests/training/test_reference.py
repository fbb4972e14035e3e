"""Which training set a day is compared with, and the scores kept beside it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fraud_assets.training import store
from fraud_assets.training.as_of import AS_OF_FOLDER, reference_as_of
from fraud_assets.training.dataset import ROW_COLUMNS, TrainingSet, Window


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, Path]:
    """Training sets of three days, the models of two of them, and a model folder."""
    rows = pa.table(
        {"transaction_id": ["t"], "account_id": ["a"], "event_time_ms": [1], "amount_minor": [1], "currency": ["EUR"]}
    )
    found = TrainingSet(
        Window(1, 0, 1), ("x",), rows.select(ROW_COLUMNS), np.ones((1, 1), np.float32), np.ones(1, bool), 0
    )
    root, models = str(tmp_path / "training"), tmp_path / "models"
    for as_of in ("2026-10-05", "2026-10-10", "2026-10-15"):
        store.save(root, as_of, found)
    (models / AS_OF_FOLDER).mkdir(parents=True)
    (models / AS_OF_FOLDER / "2026-10-05").write_text("fraud-old")
    (models / AS_OF_FOLDER / "2026-10-10").write_text("fraud-new")
    return root, models


@pytest.mark.parametrize(
    ("until", "served", "expected"),
    [
        ("2026-10-12", "fraud-old", "2026-10-05"),
        ("2026-10-12", "fraud-new", "2026-10-10"),
        ("2026-10-12", None, "2026-10-10"),
        ("2026-10-12", "fraud-of-somebody-else", "2026-10-10"),
        ("2026-10-15", None, "2026-10-15"),
        ("2026-10-07", "fraud-new", "2026-10-05"),
    ],
)
def test_a_day_is_compared_with_what_its_model_was_trained_on(
    place: tuple[str, Path], until: str, served: str | None, expected: str
) -> None:
    root, models = place

    assert reference_as_of(root, models, until, served) == expected


def test_a_day_before_the_first_training_set_is_refused_with_the_way_out(place: tuple[str, Path]) -> None:
    root, models = place

    with pytest.raises(FileNotFoundError, match=r"as of 2026-10-04 or before. Materialize training_set first"):
        reference_as_of(root, models, "2026-10-04", None)


def test_scores_come_back_as_they_were_and_a_set_without_a_model_has_none(place: tuple[str, Path]) -> None:
    root, _ = place
    store.save_scores(root, "2026-10-10", np.array([0.25, 0.5], np.float32))

    assert store.load_scores(root, "2026-10-10").tolist() == [0.25, 0.5]
    assert len(store.load_scores(root, "2026-10-15")) == 0
    assert store.days(root) == ["2026-10-05", "2026-10-10", "2026-10-15"]


def test_a_place_without_training_sets_has_no_days(tmp_path: Path) -> None:
    assert store.days(str(tmp_path / "nothing")) == []
