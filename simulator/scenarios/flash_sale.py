"""A wanted event goes on sale: everybody comes at once for the same tickets, and bots among them."""

from simulator.kinds import Kind
from simulator.scenarios.scenario import Crowd, Raid, Scenario, Surge
from simulator.scenarios.tolerances import EVERYDAY

SCENARIO = Scenario(
    name="flash-sale",
    summary="A crowd of honest people comes at once for one event, and must not be taken for an attack; scalpers' bots buy with it.",
    surges=(Surge(start=0.3, length=0.3, factor=2.0),),
    crowds=(Crowd(start=0.3, length=0.4, share=0.3),),
    raids=(Raid(Kind.BOT_SCALPING, start=0.3, length=0.3, share=0.04),),
    tolerances=EVERYDAY,
)
