"""Two ordinary minutes, and then a kind of fraud that was never there before, for as long as the run lasts."""

from simulator.scenarios.scenario import GhostSale, Scenario
from simulator.scenarios.tolerances import ANSWERED

SCENARIO = Scenario(
    name="ghost-events",
    summary="Normal traffic; after two minutes hijacked accounts buy out a promoter's ghost events, and never stop.",
    # Three purchases in ten: that many change what the platform sees of an account's device, and no fewer are a drift.
    ghosts=(GhostSale(after_s=120.0, share=0.3),),
    regulars=True,
    tolerances=ANSWERED,
)
