"""An ordinary evening with somebody trying out stolen cards in the middle of it."""

from simulator.scenarios.scenario import Scenario, TestingBurst
from simulator.scenarios.tolerances import EVERYDAY, Tolerance

SCENARIO = Scenario(
    name="card-testing",
    summary="Normal traffic; from a third of the run on, bursts of small amounts over many stolen cards, then cash-out.",
    # A twentieth of all traffic: enough to measure recall in two minutes, little enough to hide in.
    bursts=(TestingBurst(start=0.33, length=0.42, share=0.05),),
    tolerances=(*EVERYDAY, Tolerance("recall.card_testing", at_least=0.8), Tolerance("delay_s", at_most=10)),
)
