"""The kinds of fraud, how well each hides, and how it comes to light: one table.

What is labelled fraud is not always theft. Bot scalping is an abuse of the shop's own rules, paid with the bots' own money: no bank
ever hears of it, and only the shop's operators say so. Friendly fraud is said by the cardholder, of a purchase that nobody could have
told from an honest one. Both count as fraud in the truth, since the platform is there to stop the one and pays for the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np


class Kind(StrEnum):
    """How the money is made."""

    CARD_TESTING = "card_testing"
    CASH_OUT = "cash_out"
    ACCOUNT_TAKEOVER = "account_takeover"
    STOLEN_CARD = "stolen_card"
    GHOST_EVENTS = "ghost_events"
    BOT_SCALPING = "bot_scalping"
    FRIENDLY_FRAUD = "friendly_fraud"
    PROMOTER_COLLUSION = "promoter_collusion"
    MULE_RING = "mule_ring"


class Source(IntEnum):
    """Who speaks: index into `tables.LABEL_SOURCES`."""

    CHARGEBACK = 0
    MANUAL_REVIEW = 1
    OPERATOR = 2


class Alike(StrEnum):
    """What an honest purchase has in common with a fraud that it is mistaken for."""

    ACCOUNT = "account"
    EVENT = "event"
    IP = "ip"


@dataclass(frozen=True)
class Telling:
    """One way in which a kind comes to light, beside the reviews and sweeps that all purchases are subject to.

    median_days, spread: of the lognormal delay, spread in logs. missed: share of approved frauds never told of (false negatives);
    missed_small: the same of small amounts. mistaken: honest purchases that are told of as fraud by the way, per fraud that is
    (false positives), alike by `alike`. refused: speaks of purchases that were not approved too.
    """

    source: Source
    median_days: float
    missed: float
    spread: float = 0.6
    missed_small: float | None = None
    mistaken: float = 0.0
    alike: Alike = Alike.ACCOUNT
    refused: bool = False


@dataclass(frozen=True)
class Nature:
    """camouflage: 0 loud to 1 nearly honest, the mean where campaigns differ. seen: an expert who looks at one purchase can tell."""

    camouflage: float
    told: tuple[Telling, ...]
    seen: bool = True


def _bill(median_days: float = 3.4, mistaken: float = 0.02) -> Telling:
    """The cardholder finds it on a statement; few read one for the price of a coffee. Some then dispute an order of their own as well."""
    return Telling(Source.CHARGEBACK, median_days, missed=0.15, missed_small=0.4, mistaken=mistaken)


NATURES: Mapping[Kind, Nature] = {
    Kind.CARD_TESTING: Nature(0.5, (_bill(),)),
    Kind.CASH_OUT: Nature(0.5, (_bill(),)),
    Kind.ACCOUNT_TAKEOVER: Nature(0.6, (_bill(),)),
    Kind.STOLEN_CARD: Nature(0.6, (_bill(),)),
    # Of a show that nobody holds every sale is fraud: reviewers go through all of them, refused or not.
    Kind.GHOST_EVENTS: Nature(
        0.3, (_bill(), Telling(Source.MANUAL_REVIEW, 0.29, missed=0.03, missed_small=0.03, spread=0.7, refused=True))
    ),
    Kind.BOT_SCALPING: Nature(
        0.5, (Telling(Source.OPERATOR, 2.5, missed=0.35, spread=0.5, mistaken=0.08, alike=Alike.EVENT),)
    ),
    Kind.FRIENDLY_FRAUD: Nature(0.8, (Telling(Source.CHARGEBACK, 21.0, missed=0.1, spread=0.5),), seen=False),
    Kind.PROMOTER_COLLUSION: Nature(
        0.5, (Telling(Source.MANUAL_REVIEW, 12.0, missed=0.3, spread=0.4, mistaken=0.05, alike=Alike.EVENT),)
    ),
    Kind.MULE_RING: Nature(
        0.6, (Telling(Source.MANUAL_REVIEW, 6.0, missed=0.25, spread=0.5, mistaken=0.04, alike=Alike.IP),)
    ),
}


_CARELESSNESS = 3.2  # a and b together of the beta distribution of a campaign's camouflage about its kind's


def drawn_camouflage(kind: Kind, rng: np.random.Generator) -> float:
    """Of a campaign as they come: some are loud and some careful."""
    mean = NATURES[kind].camouflage
    return float(rng.beta(_CARELESSNESS * mean, _CARELESSNESS * (1 - mean)))
