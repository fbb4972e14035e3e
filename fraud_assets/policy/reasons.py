"""Reason codes: what a person is told, by families of features.

A code keeps its meaning for ever; features come and go with retrains, and each belongs to exactly one
family by its name. A code is never renamed or reused: clients and their lawyers store them.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt


class ReasonCode(StrEnum):
    """Stable and public; TEXTS says each in a sentence."""

    DECLINED_PAYMENTS = "DECLINED_PAYMENTS"
    PAST_FRAUD = "PAST_FRAUD"
    MANY_CARDS = "MANY_CARDS"
    SHARED_DEVICE = "SHARED_DEVICE"
    SHARED_NETWORK = "SHARED_NETWORK"
    SHARED_CARD = "SHARED_CARD"
    MANY_DEVICES = "MANY_DEVICES"
    UNUSUAL_PLACE = "UNUSUAL_PLACE"
    RECENT_PROFILE_CHANGE = "RECENT_PROFILE_CHANGE"
    NEW_ACCOUNT = "NEW_ACCOUNT"
    NEW_DEVICE_OR_CARD = "NEW_DEVICE_OR_CARD"
    HIGH_FREQUENCY = "HIGH_FREQUENCY"
    UNUSUAL_AMOUNT = "UNUSUAL_AMOUNT"
    UNUSUAL_EVENT = "UNUSUAL_EVENT"
    UNUSUAL_HABIT = "UNUSUAL_HABIT"
    UNUSUAL_TIME = "UNUSUAL_TIME"
    IMPOSSIBLE_TRAVEL = "IMPOSSIBLE_TRAVEL"
    CARD_TESTING = "CARD_TESTING"
    LIMITED_INFORMATION = "LIMITED_INFORMATION"


TEXTS: dict[ReasonCode, str] = {
    ReasonCode.DECLINED_PAYMENTS: "Recent payments of this account, device, network or card were declined.",
    ReasonCode.PAST_FRAUD: "Earlier payments like this one turned out to be fraud.",
    ReasonCode.MANY_CARDS: "Unusually many cards are used by this account, device or network.",
    ReasonCode.SHARED_DEVICE: "Several accounts or networks use this device.",
    ReasonCode.SHARED_NETWORK: "Several accounts or devices use this network address.",
    ReasonCode.SHARED_CARD: "Several accounts, devices or networks use this card.",
    ReasonCode.MANY_DEVICES: "This account uses unusually many devices or networks.",
    ReasonCode.UNUSUAL_PLACE: "The place does not fit the billing country or the usual places.",
    ReasonCode.RECENT_PROFILE_CHANGE: "Address, e-mail or phone changed shortly before.",
    ReasonCode.NEW_ACCOUNT: "The account is new.",
    ReasonCode.NEW_DEVICE_OR_CARD: "The device, network or card was not seen before, or only recently.",
    ReasonCode.HIGH_FREQUENCY: "More payments than usual within a short time.",
    ReasonCode.UNUSUAL_AMOUNT: "The amount or number of tickets is unusual.",
    ReasonCode.UNUSUAL_EVENT: "Sales of this event or promoter are unusual.",
    ReasonCode.UNUSUAL_HABIT: "The payment does not fit the account's habits.",
    ReasonCode.UNUSUAL_TIME: "The time is unusual.",
    ReasonCode.IMPOSSIBLE_TRAVEL: "The last payment was too far away for the time in between.",
    ReasonCode.CARD_TESTING: "A burst of declined payments: cards are being tried out.",
    ReasonCode.LIMITED_INFORMATION: "The history could not be read in time; decided on the payment alone.",
}

# The first pattern that matches names the family, so the specific come before the general.
FAMILIES: tuple[tuple[str, ReasonCode], ...] = (
    (r"declined", ReasonCode.DECLINED_PAYMENTS),
    (r"fraud|category_label_count", ReasonCode.PAST_FRAUD),
    (r"distance|speed|countr|abroad|_lat_|_lon_", ReasonCode.UNUSUAL_PLACE),
    (r"^(event|promoter)_|inventory|viewers|sell_through|tickets_sold|avg_ticket_price|promoter_success", ReasonCode.UNUSUAL_EVENT),
    (r"^(account|device|ip)_distinct_cards", ReasonCode.MANY_CARDS),
    (r"^device_distinct_", ReasonCode.SHARED_DEVICE),
    (r"^ip_distinct_", ReasonCode.SHARED_NETWORK),
    (r"^card_distinct_", ReasonCode.SHARED_CARD),
    (r"^account_distinct_(devices|ips)", ReasonCode.MANY_DEVICES),
    (r"^account_(address|email|phone)_age", ReasonCode.RECENT_PROFILE_CHANGE),
    (r"^account_age|^account_first_seen|lifetime_purchases", ReasonCode.NEW_ACCOUNT),
    (r"is_new_(device|card)|^(device|ip|card|account_device|account_card)_first_seen", ReasonCode.NEW_DEVICE_OR_CARD),
    (r"categor|spend|_mode_|cardless|distinct_promoters|distinct_events|^account_event_|is_new_event|^tier$|payment_method", ReasonCode.UNUSUAL_HABIT),
    (r"amount|price|ticket_count", ReasonCode.UNUSUAL_AMOUNT),
    (r"txn_count|velocity|since_last", ReasonCode.HIGH_FREQUENCY),
    (r"hour|weekday|day_of_year", ReasonCode.UNUSUAL_TIME),
)  # fmt: skip

MAX_REASONS = 4  # what card schemes and adverse-action notices ask for
# Less than this many log odds did not decide anything: e**0.1 is a tenth more odds.
LEAST_SHARE = 0.1


class NoReason(LookupError):
    """A feature no family speaks for; add a pattern to FAMILIES."""


def family_of(feature: str) -> ReasonCode:
    """Raises NoReason."""
    for pattern, code in FAMILIES:
        if re.search(pattern, feature):
            return code
    raise NoReason(f"NoReason: {feature!r} belongs to no family. Add a pattern to policy/reasons.py FAMILIES.")


class Attribution:
    """Shares of features → codes of the families that spoke for fraud."""

    def __init__(self, feature_names: Iterable[str]) -> None:
        self.codes = tuple(ReasonCode)
        place = {code: number for number, code in enumerate(self.codes)}
        self._family = np.array([place[family_of(name)] for name in feature_names], np.int64)

    def top(self, shares: npt.NDArray[np.float64]) -> list[ReasonCode]:
        """shares (n_features,): log odds each feature moved the score by. Strongest first, at most MAX_REASONS."""
        totals = np.bincount(self._family, weights=shares, minlength=len(self.codes)).tolist()
        strong = [(-total, number) for number, total in enumerate(totals) if total >= LEAST_SHARE]
        return [self.codes[number] for _, number in sorted(strong)[:MAX_REASONS]]


def in_order(first: Sequence[ReasonCode], then: list[ReasonCode]) -> list[ReasonCode]:
    """Codes of both, first mention kept, at most MAX_REASONS, which `then` is already."""
    return list(dict.fromkeys([*first, *then]))[:MAX_REASONS] if first else then
