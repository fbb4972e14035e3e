"""An ordinary evening."""

from simulator.scenarios.scenario import Scenario
from simulator.scenarios.tolerances import EVERYDAY, Tolerance

SCENARIO = Scenario(
    name="normal-traffic",
    summary="Ordinary buyers, on-sale curiosity, and the everyday fraud that never stops.",
    regulars=True,
    tolerances=(*EVERYDAY, Tolerance("drift_found", at_most=0)),
)
