"""The world moves on: prices, baskets and ways to pay change for everybody, and ghost events come that nobody has seen before."""

from dataclasses import replace

from simulator.scenarios.scenario import GhostSale, Scenario, Shift
from simulator.scenarios.tolerances import ANSWERED, Tolerance

NOTHING_FOUND = Tolerance("drift_found", at_most=0)
SCENARIO = Scenario(
    name="drift",
    summary="From a fifth of the run on the honest world changes by --level (0 to 1), and a new fraud comes with it.",
    shift=Shift(start=0.2, level=1.0),
    ghosts=(GhostSale(after_s=5.0, share=0.2),),
    regulars=True,
    tolerances=(*ANSWERED, Tolerance("skew_mismatches", at_most=0), Tolerance("drift_found", at_least=1)),
    has_level=True,
)

# Under half of it a check of a few hundred purchases may or may not see; nothing has to be found where nothing has changed.
_CERTAIN = 0.5


def at(scenario: Scenario, level: float) -> Scenario:
    """At that level, and with what then has to be found."""
    found = () if 0 < level < _CERTAIN else (Tolerance("drift_found", at_least=1) if level else NOTHING_FOUND,)
    rest = tuple(one for one in scenario.tolerances if one.figure != "drift_found")
    return replace(scenario.at_level(level), tolerances=(*rest, *found))
