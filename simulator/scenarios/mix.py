"""Other scenarios at once, by weight."""

from collections.abc import Mapping
from dataclasses import replace

from simulator.scenarios.scenario import Scenario
from simulator.scenarios.tolerances import EVERYDAY, Tolerance

SCENARIO = Scenario(
    name="mix",
    summary="Attacks and crowds of other scenarios at once, by --weight NAME=PART; by default a flash sale and a fraud attack alike.",
    tolerances=(*EVERYDAY, Tolerance("recall", at_least=0.5)),
    has_weights=True,
)
DEFAULT: Mapping[str, float] = {"flash-sale": 1.0, "fraud-attack": 1.0}


def mixed(parts: Mapping[Scenario, float]) -> Scenario:
    """One scenario of these, each with its share of all weight; what has no halves is there once. At most one may have an adversary or a shift."""
    whole = sum(parts.values())
    thin = [one.thinned(weight / whole) for one, weight in parts.items() if weight]
    return replace(
        SCENARIO,
        bursts=tuple(one for part in thin for one in part.bursts),
        ghosts=tuple(one for part in thin for one in part.ghosts),
        raids=tuple(one for part in thin for one in part.raids),
        crowds=tuple(one for part in thin for one in part.crowds),
        surges=tuple(one for part in thin for one in part.surges),
        outages=tuple(one for part in thin for one in part.outages),
        adversary=next((part.adversary for part in thin if part.adversary is not None), None),
        shift=next((part.shift for part in thin if part.shift is not None), None),
        regulars=any(part.regulars for part in thin),
        tolerances=SCENARIO.tolerances if any(part.bursts or part.raids for part in thin) else EVERYDAY,
    )
