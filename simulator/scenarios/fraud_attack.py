"""Everything at once: cards are tested loudly and carefully, accounts are taken over with stuffed passwords, stolen cards are emptied,
a ring of mules shares its devices.
"""

from simulator.kinds import Kind
from simulator.scenarios.scenario import Raid, Scenario, TestingBurst
from simulator.scenarios.tolerances import EVERYDAY, Tolerance

SCENARIO = Scenario(
    name="fraud-attack",
    summary="From a fifth of the run on loud and careful card testing, credential stuffing, stolen cards and a mule ring, each in its own wave.",
    bursts=(
        TestingBurst(start=0.2, length=0.3, share=0.06, camouflage=0.1),
        TestingBurst(start=0.5, length=0.45, share=0.04, camouflage=0.6),
    ),
    raids=(
        Raid(Kind.ACCOUNT_TAKEOVER, start=0.3, length=0.5, share=0.03),
        Raid(Kind.STOLEN_CARD, start=0.4, length=0.5, share=0.02),
        Raid(Kind.MULE_RING, start=0.1, length=0.8, share=0.01),
    ),
    tolerances=(
        *EVERYDAY,
        Tolerance("recall", at_least=0.6),
        Tolerance("recall.card_testing", at_least=0.7),
        Tolerance("recall.account_takeover", at_least=0.4),
        Tolerance("delay_s.card_testing", at_most=10),
        Tolerance("fraud_saved", at_least=0.5),
    ),
)
