"""An adversary that learns from its refusals."""

from simulator.scenarios.scenario import Adversary, Scenario
from simulator.scenarios.tolerances import EVERYDAY, Tolerance

SCENARIO = Scenario(
    name="adaptive",
    summary="A card-testing crew watches what is denied, and changes its devices, addresses, amounts and pace.",
    adversary=Adversary(start=0.15, length=0.75, share=0.08),
    tolerances=(
        *EVERYDAY,
        # It has to be stopped often enough that it has something to learn from.
        Tolerance("moves", at_least=1),
        Tolerance("recall.card_testing", at_least=0.4),
        Tolerance("delay_s.card_testing", at_most=10),
    ),
)
