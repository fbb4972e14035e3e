"""Card payments as the Sparkov generator writes them, as a domain of its own.

A card pays a merchant of some category; both have coordinates. The card number is a keyed token,
as everywhere.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from fraud_assets.contracts.events import AmountMinor, Event, Id, LatE6, LonE6, Token


class SparkovCategory(StrEnum):
    """What a merchant sells; `net` is online, `pos` in the shop."""

    ENTERTAINMENT = "entertainment"
    FOOD_DINING = "food_dining"
    GAS_TRANSPORT = "gas_transport"
    GROCERY_NET = "grocery_net"
    GROCERY_POS = "grocery_pos"
    HEALTH_FITNESS = "health_fitness"
    HOME = "home"
    KIDS_PETS = "kids_pets"
    MISC_NET = "misc_net"
    MISC_POS = "misc_pos"
    PERSONAL_CARE = "personal_care"
    SHOPPING_NET = "shopping_net"
    SHOPPING_POS = "shopping_pos"
    TRAVEL = "travel"


class SparkovTransaction(Event, frozen=True, kw_only=True):
    """One card payment, with the cardholder's home and the merchant's place."""

    transaction_id: Id
    card_token: Token
    merchant_id: Id
    category: SparkovCategory
    amount_minor: AmountMinor
    home_lat_e6: LatE6
    home_lon_e6: LonE6
    merchant_lat_e6: LatE6
    merchant_lon_e6: LonE6


class SparkovLabelFact(Event, frozen=True, kw_only=True):
    """What became known of one payment; `event_time_ms` is `label_known_at`.

    The keys, category and amount are copied from the payment, so that risk needs no join.
    """

    fact_id: Id
    transaction_id: Id
    card_token: Token
    merchant_id: Id
    category: SparkovCategory
    amount_minor: AmountMinor
    is_fraud: bool
    sign: Annotated[int, Meta(ge=-1, le=1)] = 1
