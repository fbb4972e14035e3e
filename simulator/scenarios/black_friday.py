"""The busiest day: twice and then three times as many buyers, on-sales one after the other, and thieves who hide among them."""

from simulator.kinds import Kind
from simulator.scenarios.scenario import Crowd, Raid, Scenario, Surge, TestingBurst
from simulator.scenarios.tolerances import EVERYDAY, Tolerance

SCENARIO = Scenario(
    name="black-friday",
    summary="Up to three times as many buyers, two on-sales, and card testing and taken-over accounts that hide in the rush.",
    surges=(Surge(start=0.15, length=0.8, factor=2.0), Surge(start=0.5, length=0.25, factor=1.5)),
    crowds=(Crowd(start=0.2, length=0.2, share=0.1), Crowd(start=0.55, length=0.2, share=0.15)),
    bursts=(TestingBurst(start=0.5, length=0.4, share=0.02, camouflage=0.5),),
    raids=(Raid(Kind.ACCOUNT_TAKEOVER, start=0.2, length=0.7, share=0.01),),
    regulars=True,
    tolerances=(*EVERYDAY, Tolerance("recall", at_least=0.5), Tolerance("delay_s.card_testing", at_most=15)),
)
