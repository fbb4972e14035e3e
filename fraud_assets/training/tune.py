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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import optuna

Params = Mapping[str, float]
# Told after each round the best value so far; raises optuna.TrialPruned where going on is not worth it.
Report = Callable[[int, float], None]

# Trials drawn at random before TPE trusts its model of what is good; Optuna's ten would be all we have.
RANDOM_TRIALS = 4
# Rounds at which a trial may be cut. Not before 100: by then the smallest eta has learnt what the default
# has in 35, and only trials that would go on for long are asked at all.
CHECKPOINTS = (100, 150, 200, 250)
KEEP_PERCENT = 75.0  # a trial in the worst quarter of those before it, at the same round, is cut


class BadSpace(ValueError):
    """A default or a known candidate that its own range does not allow."""


class BadBudget(ValueError):
    """A budget that cannot be; the message names the setting."""


class TrialFailed(RuntimeError):
    """Raised by `evaluate`: the candidate cannot be fitted; another one may."""


class NoTrialCompleted(RuntimeError):
    """Nothing to choose from: every trial failed or was cut."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """What one parameter may be, both ends included, and why."""

    name: str
    low: float
    high: float
    default: float
    log: bool = False
    whole: bool = False
    reason: str

    def __post_init__(self) -> None:
        self.check(self.default, "default")

    def check(self, value: float, what: str) -> None:
        """Raises BadSpace if `value` lies outside."""
        if not self.low <= value <= self.high:
            raise BadSpace(
                f"BadSpace: {what} {self.name}={value} is outside [{self.low}, {self.high}]; widen the range."
            )

    def suggest(self, trial: optuna.Trial) -> float:
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class SearchSpace:
    """ranges: what is searched. known: candidates somebody believes in, tried right after the default."""

    ranges: tuple[Range, ...]
    known: tuple[Params, ...] = ()

    def __post_init__(self) -> None:
        for candidate in self.known:
            for bounds in self.ranges:
                bounds.check(candidate[bounds.name], "known")

    @property
    def default(self) -> dict[str, float]:
        return {bounds.name: bounds.default for bounds in self.ranges}


SPACE = SearchSpace(
    ranges=(
        Range(
            name="max_depth", low=3, high=8, default=4, whole=True,
            reason="Two conditions are a rule, not a pattern; beyond eight a leaf is one card, and the scorer walks each level.",
        ),
        Range(
            name="eta", low=0.05, high=0.3, default=0.15, log=True,
            reason="Below, 300 rounds (the scorer's budget) end before it has learnt; above, early stopping is a lottery.",
        ),
        Range(
            name="min_child_weight", low=1, high=16, default=2, log=True,
            reason="How much evidence a leaf needs. Frauds are few: more than 16 and small attacks fall through.",
        ),
        Range(
            name="subsample", low=0.6, high=1.0, default=0.8,
            reason="Every tree should see most of a few hundred frauds.",
        ),
        Range(
            name="colsample_bytree", low=0.2, high=0.8, default=0.5,
            reason="Windows of one aggregate say nearly the same; without this they hide each other.",
        ),
        Range(
            name="lambda", low=0.5, high=16, default=2, log=True,
            reason="Shrinks leaves of few rows, of which there are many at one fraud in a hundred.",
        ),
    ),
    known=({"max_depth": 6, "eta": 0.15, "subsample": 0.8, "colsample_bytree": 0.3, "min_child_weight": 4, "lambda": 4},),
)  # fmt: skip


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
    """One candidate. rounds and average_precision: 0 and NaN unless it is complete."""

    number: int
    params: Params
    state: State
    rounds: int
    average_precision: float
    reason: str = ""
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
    evaluate: Evaluate, budget: Budget, space: SearchSpace = SPACE, clock: Callable[[], float] = time.monotonic
) -> Study:
    """Try the default, the known candidates, then TPE's, one after the other; the best by average precision.

    evaluate: number, parameters and where to report progress; raises TrialFailed or lets the report's
    TrialPruned through. Any other error is ours and ends the study. Of equal candidates the earlier wins.
    Raises NoTrialCompleted.
    """
    study = _study(budget.seed)
    for params in (space.default, *space.known):
        study.enqueue_trial(dict(params))
    tried: list[Trial] = []
    began = clock()
    wanted = max(budget.trials, 1)
    while len(tried) < wanted and (not tried or clock() - began < budget.timeout_s):
        tried.append(_one(study, evaluate, space, clock))
    complete = [trial for trial in tried if trial.state is State.COMPLETE]
    if not complete:
        raise NoTrialCompleted(
            f"NoTrialCompleted: {'; '.join(f'trial {t.number} {t.state}: {t.reason}' for t in tried)}"
        )
    best = max(complete, key=lambda trial: trial.average_precision)
    return Study(tuple(tried), best, cut=len(tried) < wanted)


def _study(seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # each trial is logged to MLflow, not to the terminal
    return optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS),
        pruner=optuna.pruners.PercentilePruner(KEEP_PERCENT, n_startup_trials=2),
    )


def _one(study: optuna.Study, evaluate: Evaluate, space: SearchSpace, clock: Callable[[], float]) -> Trial:
    trial = study.ask()
    params = {bounds.name: bounds.suggest(trial) for bounds in space.ranges}
    began = clock()
    state, measured, reason = _outcome(evaluate, trial, params)
    value = measured.average_precision if state is State.COMPLETE else None
    study.tell(trial, value, state=_OPTUNA_STATE[state])
    return Trial(trial.number, params, state, measured.rounds, measured.average_precision, reason, clock() - began)


def _outcome(evaluate: Evaluate, trial: optuna.Trial, params: Params) -> tuple[State, Measured, str]:
    nothing = Measured(0, math.nan)
    asked: set[int] = set()

    def report(at_round: int, value: float) -> None:
        if at_round not in CHECKPOINTS:
            return
        asked.add(at_round)
        trial.report(value, at_round)
        if trial.should_prune():
            raise optuna.TrialPruned(f"{value:.4f} at round {at_round} is among the worst quarter")

    try:
        measured = evaluate(trial.number, params, report)
    except optuna.TrialPruned as cut:
        return State.PRUNED, nothing, str(cut)
    except TrialFailed as failed:
        return State.FAILED, nothing, str(failed)
    if not math.isfinite(measured.average_precision):
        return State.FAILED, nothing, f"its average precision is {measured.average_precision}"
    for at_round in sorted(set(CHECKPOINTS) - asked):  # it had converged: later trials are compared with that
        trial.report(measured.average_precision, at_round)
    return State.COMPLETE, measured, ""


_OPTUNA_STATE = {
    State.COMPLETE: optuna.trial.TrialState.COMPLETE,
    State.PRUNED: optuna.trial.TrialState.PRUNED,
    State.FAILED: optuna.trial.TrialState.FAIL,
}


def _or(value: float, other: float) -> float:
    return other if math.isnan(value) else value
