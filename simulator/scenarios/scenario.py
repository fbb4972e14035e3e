"""What a scenario says: who comes, which attacks there are and when, what breaks, and what the platform has to keep to.

A new scenario is one file beside this one with a `SCENARIO`, named in `registry.py`. Starts and lengths are shares of the run.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

from simulator.kinds import Kind
from simulator.scenarios.tolerances import Tolerance

# From bots that do not care to crews that look like everybody.
CAMOUFLAGES = (0.0, 0.35, 0.7, 1.0)


@dataclass(frozen=True)
class TestingBurst:
    """A card-testing campaign squeezed into a run.

    start, length: shares of the run's duration. share: of the run's purchases. camouflage: 0 loud to
    1 careful. cash_out_delay: mean wait between a passed test and its cash-out, share of the run.
    """

    start: float
    length: float
    share: float
    camouflage: float = 0.35
    dead_cards: float = 0.5
    cash_out_delay: float = 0.12


@dataclass(frozen=True)
class GhostSale:
    """Ghost events on sale from a moment of the run to its end. after_s: seconds into it. share: of the purchases from then on."""

    after_s: float
    share: float
    events: int = 3


@dataclass(frozen=True)
class Raid:
    """Much fraud of one kind at once. share: of the run's purchases. camouflage: by default as the kind mostly is."""

    kind: Kind
    start: float
    length: float
    share: float
    camouflage: float | None = None


@dataclass(frozen=True)
class Adversary:
    """A card-testing crew that watches what is refused, and changes its devices, addresses, amounts and tempo.

    share: of the run's purchases while it is at its loudest. camouflages: its ways of working, the loudest first. It turns to the next
    when `refused` of its last `window` purchases were denied, and lies low for `pause`; when nothing of two windows was, it grows
    bolder again.
    """

    start: float
    length: float
    share: float
    camouflages: tuple[float, ...] = CAMOUFLAGES
    window: int = 6
    refused: int = 4
    pause: float = 0.02


@dataclass(frozen=True)
class Crowd:
    """An on-sale: people who come at once for the most wanted event, the most of them at its start. share: of the run's purchases."""

    start: float
    length: float
    share: float


@dataclass(frozen=True)
class Surge:
    """For a while there are `factor` times as many arrivals."""

    start: float
    length: float
    factor: float


@dataclass(frozen=True)
class Outage:
    """A dependency behind the fault proxy is slow (each way by `delay_ms`), hung or refused."""

    dependency: str
    fault: str
    start: float
    length: float
    delay_ms: float = 0.0


@dataclass(frozen=True)
class Shift:
    """From `start` on the honest world is another: level 0 changes nothing, 1 prices, baskets and ways to pay of everybody."""

    start: float
    level: float


@dataclass(frozen=True)
class Scenario:
    """name: as typed; summary: one line for `list` and the report; the rest goes over the base of ordinary buyers and everyday fraud.

    regulars: who has just bought may be the next, as often as people buy; else everybody comes once before anybody comes again.
    least_s: a run that is shorter cannot be judged by its tolerances. has_level, has_weights, has_log: `run` takes `--level`, `--weight`, `--log`.
    """

    name: str
    summary: str
    bursts: tuple[TestingBurst, ...] = ()
    ghosts: tuple[GhostSale, ...] = ()
    raids: tuple[Raid, ...] = ()
    adversary: Adversary | None = None
    crowds: tuple[Crowd, ...] = ()
    surges: tuple[Surge, ...] = ()
    outages: tuple[Outage, ...] = ()
    shift: Shift | None = None
    regulars: bool = False
    least_s: float = 0.0
    tolerances: tuple[Tolerance, ...] = ()
    has_level: bool = False
    has_weights: bool = False
    has_log: bool = False

    def at_level(self, level: float) -> "Scenario":
        """With its shift at that level, 0 to 1, and so much of its ghost sales."""
        return replace(
            self,
            shift=self.shift and replace(self.shift, level=level),
            ghosts=_part(self.ghosts, level) if level else (),
        )

    def thinned(self, weight: float) -> "Scenario":
        """With that share of its attacks and crowds; surges, outages and shifts have no halves and stay."""
        return replace(
            self,
            bursts=_part(self.bursts, weight),
            ghosts=_part(self.ghosts, weight),
            raids=_part(self.raids, weight),
            crowds=_part(self.crowds, weight),
            surges=tuple(replace(one, factor=1 + (one.factor - 1) * weight) for one in self.surges),
        )


_Shared = TypeVar("_Shared", TestingBurst, GhostSale, Raid, Crowd)


def _part(ones: tuple[_Shared, ...], of: float) -> tuple[_Shared, ...]:
    """So much of each."""
    return tuple(replace(one, share=one.share * of) for one in ones)
