"""A small study of hyper-parameters: the declared default first, then what a seeded sampler proposes.

Knows nothing of XGBoost: `evaluate` fits a candidate on the training part and says what it reached on
the validation part. Whatever happens to the other trials, the default is among those compared, so a
study never ends with less than it began with.

Few frauds make a blunt ruler. With fifty in the validation part the average precision of one and the
same candidate moves by 0.01 to 0.02 with XGBoost's seed alone, and the best of several is flattered
by about as much: read it beside the default's, and trust a difference that is larger.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
import optuna

from fraud_assets.training.space import SPACE, Params, SearchSpace
from fraud_assets.training.studies import Journal

Curves = Mapping[str, Sequence[float]]


class Report(Protocol):
    """Told after each round, from 1, the best value so far, and what else was measured, which becomes the trial's curves.

    Raises optuna.TrialPruned where going on is not worth it.
    """

    def __call__(self, at_round: int, value: float, /, **measured: float) -> None: ...


# Trials drawn at random before TPE trusts its model of what is good; Optuna's ten would be all we have.
RANDOM_TRIALS = 4
# Rounds at which a trial may be cut. Not before 100: by then the smallest eta has learnt what the default
# has in 35, and only trials that would go on for long are asked at all.
CHECKPOINTS = (100, 150, 200, 250)
RECORD = "record"  # attribute of Optuna's trials that ended: what we know of them
KEEP_PERCENT = 75.0  # a trial in the worst quarter of those before it, at the same round, is cut


class BadBudget(ValueError):
    """A budget that cannot be; the message names the setting."""


class TrialFailed(RuntimeError):
    """Raised by `evaluate`: the candidate cannot be fitted; another one may."""


class NoTrialCompleted(RuntimeError):
    """Nothing to choose from: every trial failed or was cut."""


@dataclass(frozen=True)
class Budget:
    """trials: the default and the known candidates among them; 0 or 1 is no study, only the default.
    timeout_s: no trial begins later than this after the first; a study cut by it depends on the machine.
    seed: the same seed and as many trials on the same rows give the same study.
    """

    trials: int = 6
    timeout_s: float = 300.0
    seed: int = 7

    def __post_init__(self) -> None:
        if self.trials < 0:
            raise BadBudget(f"BadBudget: trials={self.trials}. 0 is none but the default, 6 is usual.")
        if not self.timeout_s > 0:
            raise BadBudget(f"BadBudget: timeout_s={self.timeout_s}. Give it seconds; trials=0 turns the search off.")


class State(StrEnum):
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class Measured:
    """What a candidate reached on the validation part, and after how many rounds."""

    rounds: int
    average_precision: float


@dataclass(frozen=True)
class Trial:
    """One candidate. rounds and average_precision: 0 and NaN unless it is complete. curves: a value for each round."""

    number: int
    params: Params
    state: State
    rounds: int
    average_precision: float
    reason: str = ""
    curves: Curves = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Study:
    """trials: in order, the default first. best: of the complete ones. cut: whether time ended it."""

    trials: tuple[Trial, ...]
    best: Trial
    cut: bool

    @property
    def default(self) -> Trial:
        return self.trials[0]

    def count(self, state: State) -> int:
        return sum(trial.state is state for trial in self.trials)

    def best_so_far(self) -> list[float]:
        """(n_trials,) the running best; NaN before the first that completed."""
        found, best = [], math.nan
        for trial in self.trials:
            best = trial.average_precision if math.isnan(best) else max(best, _or(trial.average_precision, best))
            found.append(best)
        return found


Evaluate = Callable[[int, Params, Report], Measured]


def tune(
    evaluate: Evaluate,
    budget: Budget,
    space: SearchSpace = SPACE,
    clock: Callable[[], float] = time.monotonic,
    journal: Journal | None = None,
) -> Study:
    """Try the default, the known candidates, then TPE's, one after the other; the best by average precision.

    evaluate: number, parameters and where to report progress; raises TrialFailed or lets the report's
    TrialPruned through. Any other error is ours and ends the study. Of equal candidates the earlier wins.
    journal: where the study is kept, and goes on from where a process before has left it.
    Raises NoTrialCompleted.
    """
    study = _study(journal)
    tried = _left_behind(study)
    began = clock()
    wanted = max(budget.trials, 1)
    while len(tried) < wanted and (not tried or clock() - began < budget.timeout_s):
        tried.append(_one(study, len(tried), evaluate, budget.seed, space, clock))
    complete = [trial for trial in tried if trial.state is State.COMPLETE]
    if not complete:
        raise NoTrialCompleted(
            f"NoTrialCompleted: {'; '.join(f'trial {t.number} {t.state}: {t.reason}' for t in tried)}"
        )
    best = max(complete, key=lambda trial: trial.average_precision)
    return Study(tuple(tried), best, cut=len(tried) < wanted)


def _study(journal: Journal | None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # each trial is logged to MLflow, not to the terminal
    return optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.PercentilePruner(KEEP_PERCENT, n_startup_trials=2),
        storage=journal.storage if journal else None,
        study_name=journal.name if journal else None,
        load_if_exists=True,
    )


def _left_behind(study: optuna.Study) -> list[Trial]:
    """What a process before has finished. What it was trying when it died is told as failed, without a record, and tried again."""
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    recorded = [trial for trial in study.get_trials() if RECORD in trial.user_attrs and trial.state.is_finished()]
    return [_from_record(number, trial) for number, trial in enumerate(recorded)]


def _from_record(number: int, trial: optuna.trial.FrozenTrial) -> Trial:
    said = trial.user_attrs[RECORD]
    value = math.nan if said["average_precision"] is None else said["average_precision"]
    state = State(said["state"])
    return Trial(number, trial.params, state, said["rounds"], value, said["reason"], said["curves"], said["seconds"])


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Of one trial: what it proposes depends on the trials before it, not on whether they were of this process."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=own, n_startup_trials=RANDOM_TRIALS)


def _one(
    study: optuna.Study, number: int, evaluate: Evaluate, seed: int, space: SearchSpace, clock: Callable[[], float]
) -> Trial:
    given = (space.default, *space.known)
    waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
    if number < len(given) and not waiting:
        study.enqueue_trial(dict(given[number]))
    study.sampler = _sampler(seed, number)
    trial = study.ask()
    params = {bounds.name: bounds.suggest(trial) for bounds in space.ranges}
    began = clock()
    state, measured, reason, curves = _outcome(evaluate, number, trial, params)
    found = Trial(number, params, state, measured.rounds, measured.average_precision, reason, curves, clock() - began)
    trial.set_user_attr(RECORD, _record(found))
    value = measured.average_precision if state is State.COMPLETE else None
    study.tell(trial, value, state=_OPTUNA_STATE[state])
    return found


def _record(trial: Trial) -> dict[str, object]:
    """What Optuna does not keep of a trial, in JSON, which has no NaN."""
    value = trial.average_precision
    return {
        "state": str(trial.state),
        "rounds": trial.rounds,
        "average_precision": None if math.isnan(value) else value,
        "reason": trial.reason,
        "curves": {name: list(values) for name, values in trial.curves.items()},
        "seconds": trial.seconds,
    }


def _outcome(
    evaluate: Evaluate, number: int, trial: optuna.Trial, params: Params
) -> tuple[State, Measured, str, dict[str, list[float]]]:
    nothing = Measured(0, math.nan)
    asked: set[int] = set()
    curves: dict[str, list[float]] = {}

    def report(at_round: int, value: float, /, **measured: float) -> None:
        for name, one in measured.items():
            curves.setdefault(name, []).append(one)
        if at_round not in CHECKPOINTS:
            return
        asked.add(at_round)
        trial.report(value, at_round)
        if trial.should_prune():
            raise optuna.TrialPruned(f"{value:.4f} at round {at_round} is among the worst quarter")

    try:
        measured = evaluate(number, params, report)
    except optuna.TrialPruned as cut:
        return State.PRUNED, nothing, str(cut), curves
    except TrialFailed as failed:
        return State.FAILED, nothing, str(failed), curves
    if not math.isfinite(measured.average_precision):
        return State.FAILED, nothing, f"its average precision is {measured.average_precision}", curves
    for at_round in sorted(set(CHECKPOINTS) - asked):  # it had converged: later trials are compared with that
        trial.report(measured.average_precision, at_round)
    return State.COMPLETE, measured, "", curves


_OPTUNA_STATE = {
    State.COMPLETE: optuna.trial.TrialState.COMPLETE,
    State.PRUNED: optuna.trial.TrialState.PRUNED,
    State.FAILED: optuna.trial.TrialState.FAIL,
}


def _or(value: float, other: float) -> float:
    return other if math.isnan(value) else value
