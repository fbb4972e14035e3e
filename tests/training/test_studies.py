"""A study outlives its process: killed at any trial it ends as if nothing had happened."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fraud_assets.training.fit import Fitted, fit
from fraud_assets.training.space import Params
from fraud_assets.training.studies import Journal, kept
from fraud_assets.training.tune import Budget, Measured, Report, State, Study, tune
from tests.training.study_to_kill import PLANE, plane
from tests.training.toy import halves, toy

TRIALS = 10


@pytest.fixture(scope="module")
def undisturbed() -> Study:
    return tune(plane, Budget(TRIALS), PLANE)


def killed_in_trial(folder: Path, at: int) -> None:
    """A real process, by SIGKILL, in the middle of a trial."""
    command = [sys.executable, "-m", "tests.training.study_to_kill", str(folder), "s", str(TRIALS), str(at)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"in trial {at}\n"
        process.kill()


class NoModel(RuntimeError):
    """What ends a training between its study and its model."""


def left_by(folder: Path, training: Callable[[Journal | None], object]) -> None:
    with contextlib.suppress(NoModel), kept(folder, "s") as journal:
        training(journal)
        raise NoModel


def resumed(folder: Path) -> tuple[Study, list[int]]:
    """The study that the folder's journal leads to, and the trials that were evaluated for it."""
    asked = []

    def counted(number: int, params: Params, report: Report) -> Measured:
        asked.append(number)
        return plane(number, params, report)

    with kept(folder, "s") as journal:
        assert journal is not None
        return tune(counted, Budget(TRIALS), PLANE, journal=journal), asked


@pytest.mark.parametrize("at", [0, 1, 6])
def test_a_study_whose_process_was_killed_ends_as_one_that_was_not(tmp_path: Path, undisturbed: Study, at: int) -> None:
    """In the default, in a known candidate, in one that TPE proposed: what was finished is not tried again."""
    killed_in_trial(tmp_path, at)

    study, asked = resumed(tmp_path)

    assert study == undisturbed
    assert asked == list(range(at, TRIALS))
    assert undisturbed.count(State.PRUNED) > 0  # of those too


def test_a_study_that_is_killed_twice_ends_the_same(tmp_path: Path, undisturbed: Study) -> None:
    killed_in_trial(tmp_path, 2)
    killed_in_trial(tmp_path, 5)

    study, asked = resumed(tmp_path)

    assert study == undisturbed
    assert asked == list(range(5, TRIALS))


def test_a_kill_in_the_middle_of_a_write_costs_the_trial_and_no_more(tmp_path: Path, undisturbed: Study) -> None:
    """Half a line at the journal's end, and Optuna's own lock."""
    killed_in_trial(tmp_path, 3)
    path = tmp_path / "s.journal"
    path.write_bytes(path.read_bytes() + b'{"op_code":6,"wor')
    (tmp_path / "s.journal.lock").symlink_to(path)

    study, asked = resumed(tmp_path)

    assert study == undisturbed
    assert asked[0] == 3


def test_a_journal_is_kept_until_the_block_ends_well(tmp_path: Path) -> None:
    left_by(tmp_path, lambda journal: tune(plane, Budget(2), PLANE, journal=journal))
    assert (tmp_path / "s.journal").stat().st_size > 0

    with kept(tmp_path, "s"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_another_process_writes_is_not_shared(tmp_path: Path) -> None:
    """Each would take the other's running trial for an abandoned one. The second keeps its own in memory."""
    with kept(tmp_path, "s") as first:
        with kept(tmp_path, "s") as second:
            assert isinstance(first, Journal) and second is None
        assert (tmp_path / "s.journal").exists()


def test_a_journal_of_fewer_trials_is_gone_on_with(tmp_path: Path, undisturbed: Study) -> None:
    """Somebody allows more of them."""
    left_by(tmp_path, lambda journal: tune(plane, Budget(4), PLANE, journal=journal))

    study, asked = resumed(tmp_path)

    assert study == undisturbed
    assert asked == list(range(4, TRIALS))


def test_a_resumed_fit_is_the_same_to_the_last_byte(tmp_path: Path) -> None:
    """Also where the winner was fitted by the process that died: its scores are made again."""
    features, is_fraud, amount, split = toy()

    def fitted(trials: int, journal: Journal | None) -> Fitted:
        budget = Budget(trials)
        return fit(features, is_fraud, amount, split, ["a", "b"], folds=halves(), budget=budget, journal=journal)

    left_by(tmp_path, lambda journal: fitted(3, journal))
    with kept(tmp_path, "s") as journal:
        found = fitted(3, journal)
    fresh = fitted(3, None)

    assert found.study == fresh.study
    assert found.model_json() == fresh.model_json()
    assert np.array_equal(found.validation_scores, fresh.validation_scores)


def test_curves_are_of_every_round_also_of_trials_that_were_cut(undisturbed: Study) -> None:
    cut = next(trial for trial in undisturbed.trials if trial.state is State.PRUNED)
    whole = undisturbed.default

    assert len(whole.curves["height"]) == 300
    assert whole.curves["height"][9] == pytest.approx(10 * whole.average_precision)
    assert len(cut.curves["height"]) == 100


def test_a_candidates_curves_are_what_xgboost_measured_on_the_validation_days() -> None:
    features, is_fraud, amount, split = toy()

    study = fit(features, is_fraud, amount, split, ["a", "b"], folds=halves(), budget=Budget(1)).study

    loss = study.best.curves["validation_logloss"]
    assert len(loss) == len(study.best.curves["validation_aucpr"]) >= study.best.rounds
    assert int(np.argmin(loss)) == study.best.rounds - 1  # it stops by log loss
