"""What the platform has to keep to in a scenario: a figure of the run, and how large or small it may be.

Figures are those of `figures.py`. Some nobody can measure from outside (skew, drift): whoever runs the scenario hands them in, and
where nobody does, the tolerance is unmeasured, which is neither kept nor broken.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Kept(StrEnum):
    """How a tolerance was met."""

    YES = "kept"
    NO = "broken"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True)
class Tolerance:
    """at_least, at_most: bounds, both included; None for no bound."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"Tolerance of {self.figure}: give at_least or at_most.")

    def met_by(self, value: float | None) -> Kept:
        if value is None:
            return Kept.UNMEASURED
        low = self.at_least is None or value >= self.at_least
        high = self.at_most is None or value <= self.at_most
        return Kept.YES if low and high else Kept.NO


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A tolerance and what was measured. `value` is null where nothing was."""

    figure: str
    at_least: float | None
    at_most: float | None
    value: float | None
    kept: Kept

    @property
    def was(self) -> str:
        """`0.8421`; a dash where nothing was measured."""
        return "–" if self.value is None else f"{self.value:.4g}"

    @property
    def bound(self) -> str:
        """`0.5 to 0.9`, `at most 50`."""
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g}" if self.at_least == self.at_most else f"{self.at_least:g} to {self.at_most:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


def judged(tolerances: Iterable[Tolerance], figures: Mapping[str, float | None]) -> list[Judged]:
    """In their order."""
    return [
        Judged(
            figure=one.figure,
            at_least=one.at_least,
            at_most=one.at_most,
            value=figures.get(one.figure),
            kept=one.met_by(figures.get(one.figure)),
        )
        for one in tolerances
    ]


ANSWERED = (
    Tolerance("unanswered", at_most=0.01),
    Tolerance("errors_5xx", at_most=0),
    # Where simulator, worker, broker and scorer share two cores; the promise of one that has its own is in docs/reliability.md.
    Tolerance("latency_p99_ms", at_most=150),
)
"""Whatever happens, who waits is answered."""

KEPT = (Tolerance("skew_mismatches", at_most=0), Tolerance("decisions_lost", at_most=0))
"""What was answered is in the lake, and what was served is what batch makes of it."""

EVERYDAY = (
    *ANSWERED,
    # Of the few hundred purchases of a small run, one dear order turned away is a hundredth of the money.
    Tolerance("honest_denied", at_most=0.02),
    Tolerance("revenue_kept", at_least=0.95),
    *KEPT,
)
"""What honest buyers may expect on any day."""
