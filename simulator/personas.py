"""The five personas: who they are, when and how they buy, and how long they stay. All of it declared here.

Places are of the household (`people.py`), prices of the event (`catalogue.py`); amounts follow from both, and from tickets and tiers here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.purchases import PREMIUM, STANDARD, VIP
from simulator.world import Floats, Persona

Shares = tuple[float, ...]


@dataclass(frozen=True)
class Habits:
    """share: of accounts. weight: purchases beside a casual buyer's. crowd: the same on on-sale mornings, of those who come at all.

    ip: homebody, mobile first, office buyer, VPN user. device: one, two, the family's tablet, cookie blocker. card: one, two, the family's or a
    company's, a new one often. method: card, wallet, bank, voucher. hours: weight of each hour of the local day.
    travels: share away from home once. joins: opened in the world's days; buys_at_once: of those, on their first day. leaves: stops for
    good within the world's days; sleeps: pauses for weeks and comes back.
    """

    share: float
    weight: float
    crowd: float
    tickets: Mapping[int, float]
    tiers: Mapping[int, float]
    browsing: Mapping[int, float]
    hours: Shares
    ip: Shares = (0.60, 0.25, 0.09, 0.06)
    device: Shares = (0.55, 0.31, 0.09, 0.05)
    card: Shares = (0.62, 0.25, 0.08, 0.05)
    method: Shares = (0.70, 0.20, 0.06, 0.04)
    travels: float = 0.125
    joins: float = 0.125
    buys_at_once: float = 0.75
    leaves: float = 0.04
    sleeps: float = 0.08


PERSONAS: Mapping[Persona, Habits] = {
    Persona.CASUAL: Habits(
        share=0.66,
        weight=1.0,
        crowd=0.6,
        tickets={1: 28, 2: 52, 3: 8, 4: 10, 5: 1, 6: 1},
        tiers={STANDARD: 86, PREMIUM: 12, VIP: 2},
        browsing={0: 25, 1: 30, 2: 25, 3: 14, 4: 6},
        hours=(1, 0.5, 0.3, 0.2, 0.3, 0.6, 1.5, 3, 4, 5, 5.5, 6, 7, 6, 5, 5, 6, 7, 9, 10, 10, 8, 5, 2.5),
        sleeps=0.10,
    ),
    Persona.ENTHUSIAST: Habits(
        share=0.24,
        weight=2.8,
        crowd=2.0,
        tickets={1: 38, 2: 46, 3: 7, 4: 7, 6: 2},
        tiers={STANDARD: 74, PREMIUM: 21, VIP: 5},
        browsing={0: 35, 1: 35, 2: 20, 3: 10},
        hours=(3, 2, 1, 0.5, 0.3, 0.5, 1, 2, 4, 7, 8, 6, 6, 5, 5, 5, 6, 7, 8, 9, 9, 8, 7, 5),
        ip=(0.56, 0.31, 0.07, 0.06),
        leaves=0.02,
        sleeps=0.04,
    ),
    Persona.VIP: Habits(
        share=0.05,
        weight=4.0,
        crowd=1.5,
        tickets={1: 15, 2: 55, 4: 22, 6: 6, 8: 2},
        tiers={STANDARD: 25, PREMIUM: 40, VIP: 35},
        browsing={0: 30, 1: 40, 2: 20, 3: 10},
        hours=(1, 0.4, 0.2, 0.2, 0.3, 0.8, 2, 5, 8, 9, 9, 8, 7, 7, 8, 8, 7, 6, 5, 4, 4, 3, 2, 1.5),
        ip=(0.48, 0.27, 0.19, 0.06),
        card=(0.48, 0.27, 0.20, 0.05),
        travels=0.30,
        leaves=0.02,
        sleeps=0.04,
    ),
    Persona.SCALPER: Habits(
        share=0.03,
        weight=5.0,
        crowd=9.0,  # they live for on-sale mornings
        tickets={2: 12, 4: 34, 6: 26, 8: 28},
        tiers={STANDARD: 78, PREMIUM: 20, VIP: 2},
        browsing={0: 75, 1: 20, 2: 5},
        hours=(3, 3, 2, 2, 2, 2, 3, 4, 7, 9, 9, 8, 6, 5, 5, 5, 5, 5, 5, 5, 5, 4, 4, 3),
        ip=(0.52, 0.22, 0.06, 0.20),
        device=(0.42, 0.40, 0.06, 0.12),
        card=(0.45, 0.33, 0.08, 0.14),
    ),
    Persona.FRAUDSTER: Habits(
        share=0.02,
        weight=0.5,
        crowd=0.6,
        tickets={1: 30, 2: 50, 3: 10, 4: 10},  # an ordinary basket, for their ordinary purchases
        tiers={STANDARD: 85, PREMIUM: 13, VIP: 2},
        browsing={0: 40, 1: 40, 2: 20},
        hours=(4, 4, 4, 3, 3, 2, 2, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 5, 5),
        joins=0.6,  # fraud prefers, not needs, the new
        buys_at_once=0.35,
        sleeps=0.20,  # bought with a past, and left alone until they are wanted
    ),
}


def of_persona(name: str) -> Floats:
    """(personas,) or (personas, k): the habit of that name, by `Persona`."""
    return np.array([getattr(PERSONAS[persona], name) for persona in Persona], dtype=np.float64)
