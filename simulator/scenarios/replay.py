"""What was recorded, once more."""

from simulator.scenarios.scenario import Scenario
from simulator.scenarios.tolerances import EVERYDAY

SCENARIO = Scenario(
    name="replay",
    summary="The purchases of a run that was recorded with --record, played again from now on.",
    tolerances=EVERYDAY,
    has_log=True,
)
