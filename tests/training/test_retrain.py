"""When a drifted day asks for a training."""

import pytest

from fraud_assets.training.retrain import Answer, answer

TODAY = "2026-10-20"


@pytest.mark.parametrize(
    ("case", "drifted", "trained", "answered"),
    [
        ("no model is newer than the day", "2026-10-19", ["2026-10-13"], ""),
        ("a model as of the drifted day ends before it", "2026-10-19", ["2026-10-19"], ""),
        ("a model of a later day than today is none of now", "2026-10-19", ["2026-10-21"], ""),
        ("the answer before was a cool-down ago", "2026-10-19", ["2026-10-13"], "2026-10-13"),
    ],
)
def test_a_drifted_day_asks_for_a_training_as_of_today(
    case: str, drifted: str, trained: list[str], answered: str
) -> None:
    assert answer(drifted, TODAY, trained, answered, 7) == Answer("", TODAY), case


@pytest.mark.parametrize(
    ("case", "drifted", "trained", "answered", "said", "then"),
    [
        ("the night's training knew of it", "2026-10-19", ["2026-10-20"], "", "as of 2026-10-20 was", "2026-10-20"),
        ("it was asked for, and may not have run yet", "2026-10-19", [], "2026-10-20", "is the answer", "2026-10-20"),
        ("the same drift on a later day", "2026-10-19", ["2026-10-14"], "2026-10-14", "is the answer", "2026-10-14"),
        ("a backfill of old reports", "2026-10-12", [], "2026-10-01", "history", "2026-10-01"),
    ],
)
def test_one_drift_asks_once(case: str, drifted: str, trained: list[str], answered: str, said: str, then: str) -> None:
    found = answer(drifted, TODAY, trained, answered, 7)

    assert said in found.refused, case
    assert found.answered == then, case


def test_without_a_cool_down_every_day_that_drifts_asks() -> None:
    assert answer("2026-10-19", TODAY, [TODAY], TODAY, 0) == Answer("", TODAY)
