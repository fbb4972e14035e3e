"""What a study searches: each parameter's range with its reason, and the candidates that are tried first."""

from collections.abc import Mapping
from dataclasses import dataclass

import optuna

Params = Mapping[str, float]


class BadSpace(ValueError):
    """A default or a known candidate that its own range does not allow."""


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
