"""The study: the default comes first and is never beaten by less, whatever fails, is cut or runs out of time."""

import math
from collections.abc import Callable

import optuna
import pytest
from pydantic import ValidationError

from fraud_assets.settings import Settings
from fraud_assets.training.fit import fit
from fraud_assets.training.space import SPACE, BadSpace, Params, Range, SearchSpace
from fraud_assets.training.tune import (
    CHECKPOINTS,
    BadBudget,
    Budget,
    Measured,
    NoTrialCompleted,
    Report,
    State,
    TrialFailed,
    tune,
)
from tests.training.toy import halves, toy

# One parameter whose best value is 2.
LINE = SearchSpace((Range(name="x", low=0.0, high=10.0, default=5.0, reason="a test"),))


def near_two(number: int, params: Params, report: Report) -> Measured:
    return Measured(10, 1.0 - abs(params["x"] - 2.0) / 10.0)


def worse_than_default(number: int, params: Params, report: Report) -> Measured:
    return Measured(10, 0.5 if number == 0 else 0.4)


def test_the_first_trial_is_the_declared_default_and_the_known_candidates_follow() -> None:
    study = tune(lambda *_: Measured(1, 0.5), Budget(trials=4))

    assert study.default.params == SPACE.default
    assert study.trials[1].params == SPACE.known[0]
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]


def test_a_search_finds_more_than_the_default_had() -> None:
    study = tune(near_two, Budget(trials=25), LINE)

    assert study.default.average_precision == pytest.approx(0.7)
    assert study.best.average_precision > 0.9
    assert study.best_so_far() == sorted(study.best_so_far())


def test_the_same_seed_tries_the_same_candidates_and_another_seed_others() -> None:
    one, again, other = (tune(near_two, Budget(trials=8, seed=seed), LINE) for seed in (1, 1, 2))

    assert one == again
    assert [trial.params for trial in one.trials[1:]] != [trial.params for trial in other.trials[1:]]


def test_the_default_wins_where_nothing_is_better_and_where_others_are_equal() -> None:
    assert tune(worse_than_default, Budget(trials=6)).best.number == 0
    assert tune(lambda *_: Measured(1, 0.5), Budget(trials=6)).best.number == 0


@pytest.mark.parametrize("trials", [0, 1])
def test_no_trials_means_the_default_alone(trials: int) -> None:
    study = tune(near_two, Budget(trials=trials), LINE)

    assert [trial.params for trial in study.trials] == [LINE.default]
    assert study.best is study.default
    assert not study.cut


def test_failed_and_nonsensical_trials_are_told_and_never_chosen() -> None:
    def evaluate(number: int, params: Params, report: Report) -> Measured:
        if number == 1:
            raise TrialFailed("out of memory")
        return Measured(10, math.nan if number == 2 else 0.5 - number / 100)

    study = tune(evaluate, Budget(trials=4), LINE)

    assert [trial.state for trial in study.trials] == [State.COMPLETE, State.FAILED, State.FAILED, State.COMPLETE]
    assert study.best.number == 0
    assert study.trials[1].reason == "out of memory"
    assert "nan" in study.trials[2].reason


def test_a_trial_that_lags_behind_the_others_is_cut_and_never_chosen() -> None:
    def evaluate(number: int, params: Params, report: Report) -> Measured:
        curve = 0.1 if number == 3 else 0.5
        for at_round in range(1, 301):
            report(at_round, curve)
        return Measured(300, 0.99 if number == 3 else curve)

    study = tune(evaluate, Budget(trials=5), LINE)

    assert study.trials[3].state is State.PRUNED
    assert f"at round {CHECKPOINTS[0]} is among the worst quarter" in study.trials[3].reason
    assert study.best.number == 0
    assert study.count(State.PRUNED) == 1


def test_a_long_trial_is_compared_with_those_that_converged_before_it_was_asked() -> None:
    def evaluate(number: int, params: Params, report: Report) -> Measured:
        if number < 3:
            return Measured(30, 0.5)  # stopped early: nothing was reported at any checkpoint
        report(CHECKPOINTS[0], 0.2)
        return Measured(300, 0.3)

    assert tune(evaluate, Budget(trials=4), LINE).trials[3].state is State.PRUNED


def test_a_study_without_a_complete_trial_says_what_became_of_each() -> None:
    def evaluate(number: int, params: Params, report: Report) -> Measured:
        raise TrialFailed(f"reason {number}")

    with pytest.raises(NoTrialCompleted, match="trial 0 failed: reason 0; trial 1 failed: reason 1"):
        tune(evaluate, Budget(trials=2), LINE)


def test_an_error_of_ours_is_no_failed_trial() -> None:
    def evaluate(number: int, params: Params, report: Report) -> Measured:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        tune(evaluate, Budget(trials=2), LINE)


def test_no_trial_begins_after_the_time_and_the_default_always_does() -> None:
    now = iter(range(0, 1_000, 10))

    study = tune(near_two, Budget(trials=50, timeout_s=60.0), LINE, clock=lambda: next(now))

    assert study.cut
    assert 1 <= len(study.trials) < 4
    assert not tune(near_two, Budget(trials=3, timeout_s=1e9), LINE).cut


def test_a_study_says_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    tune(near_two, Budget(trials=3), LINE)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("budget", "match"),
    [
        (lambda: Budget(trials=-1), "trials=-1"),
        (lambda: Budget(timeout_s=0), "timeout_s=0"),
        (lambda: Budget(timeout_s=math.nan), "timeout_s=nan"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_by_name(budget: Callable[[], Budget], match: str) -> None:
    with pytest.raises(BadBudget, match=match):
        budget()


@pytest.mark.parametrize(
    ("name", "value"),
    [("FRAUD_TUNING_TRIALS", "-1"), ("FRAUD_TUNING_TRIALS", "many"), ("FRAUD_TUNING_TIMEOUT_S", "0")],
)
def test_a_setting_that_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=name):
        Settings()


def test_a_candidate_outside_its_range_is_refused_by_name() -> None:
    with pytest.raises(BadSpace, match=r"default eta=0\.5 is outside \[0\.05, 0\.3\]"):
        Range(name="eta", low=0.05, high=0.3, default=0.5, reason="a test")
    with pytest.raises(BadSpace, match="known x=11"):
        SearchSpace(LINE.ranges, known=({"x": 11},))


def test_every_range_of_the_space_says_why() -> None:
    assert all(len(bounds.reason) > 40 for bounds in SPACE.ranges)
    assert all(bounds.low < bounds.high for bounds in SPACE.ranges)


def test_a_fit_within_a_budget_is_reproducible_and_keeps_the_scores_of_its_winner() -> None:
    features, is_fraud, amount, split = toy()

    one, again = (
        fit(features, is_fraud, amount, split, ["a", "b"], folds=halves(), budget=Budget(trials=4)) for _ in range(2)
    )

    assert one.study == again.study
    assert one.model_json() == again.model_json()
    assert one.best.average_precision >= one.study.default.average_precision
    assert one.metrics["average_precision"] == one.best.average_precision
    assert len(one.validation_scores) == len(split.validate)


def test_labels_of_the_gap_between_the_parts_change_no_trial() -> None:
    features, is_fraud, amount, split = toy()
    changed = is_fraud.copy()
    changed[1_000:1_200] = ~changed[1_000:1_200]

    one, other = (
        fit(features, labels, amount, split, ["a", "b"], folds=halves(), budget=Budget(trials=3))
        for labels in (is_fraud, changed)
    )

    assert one.study == other.study


def test_parameters_that_xgboost_refuses_are_a_failed_trial() -> None:
    features, is_fraud, amount, split = toy()
    space = SearchSpace(
        (Range(name="subsample", low=0.5, high=9.0, default=0.8, reason="a test"),), ({"subsample": 9.0},)
    )

    study = fit(
        features, is_fraud, amount, split, ["a", "b"], folds=halves(), budget=Budget(trials=2), space=space
    ).study

    assert [trial.state for trial in study.trials] == [State.COMPLETE, State.FAILED]
    assert "subsample" in study.trials[1].reason


def test_a_failed_trial_is_no_observation_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(direction="maximize")
    monkeypatch.setattr(optuna, "create_study", lambda **_: study)

    def evaluate(number: int, params: Params, report: Report) -> Measured:
        if number == 1:
            raise TrialFailed("no")
        return Measured(1, 0.5)

    tune(evaluate, Budget(trials=3), LINE)

    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
