"""A wanted event goes on sale: everybody comes at once for the same tickets, scalpers first, and hardly anybody is a thief."""

from simulator.scenarios.scenario import Crowd, Scenario, Surge
from simulator.scenarios.tolerances import EVERYDAY

SCENARIO = Scenario(
    name="flash-sale",
    summary="A crowd of honest people comes at once for one event: it must not be taken for an attack.",
    surges=(Surge(start=0.3, length=0.3, factor=2.0),),
    crowds=(Crowd(start=0.3, length=0.4, share=0.3),),
    tolerances=EVERYDAY,
)
