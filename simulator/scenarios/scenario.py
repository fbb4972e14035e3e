"""What a scenario says: the attacks in it and when, as shares of the run.

A new scenario is one file beside this one with a `SCENARIO`, named in `registry.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TestingBurst:
    """A card-testing campaign squeezed into a run.

    start, length: shares of the run's duration. share: of the run's purchases. disguise: 0 loud to
    1 careful. cash_out_delay: mean wait between a passed test and its cash-out, share of the run.
    """

    start: float
    length: float
    share: float
    disguise: float = 0.35
    dead_cards: float = 0.5
    cash_out_delay: float = 0.12


@dataclass(frozen=True)
class GhostSale:
    """Ghost events on sale from a moment of the run to its end. after_s: seconds into it. share: of the purchases from then on."""

    after_s: float
    share: float
    events: int = 3


@dataclass(frozen=True)
class Scenario:
    """name: as typed; summary: one line for `list` and the report; bursts, ghosts: attacks over the base.

    regulars: who has just bought may be the next, as often as people buy; else everybody comes once before anybody comes again.
    """

    name: str
    summary: str
    bursts: tuple[TestingBurst, ...] = ()
    ghosts: tuple[GhostSale, ...] = ()
    regulars: bool = False
