"""An ordinary evening."""

from simulator.scenarios.scenario import Scenario

SCENARIO = Scenario(
    name="normal-traffic",
    summary="Ordinary buyers, on-sale curiosity, and the everyday fraud that never stops.",
)
