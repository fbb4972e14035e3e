"""Orders of cards at shops: small and bounded, as real contracts are, to declare features over, right and wrong."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from fraud_assets.features.expressions import col
from fraud_assets.features.language import FeatureView
from fraud_assets.features.sources import Entity, LabelFactSource, ProfileSource, StreamSource

AmountMinor = Annotated[int, Meta(ge=0, le=10**12)]


class Outcome(StrEnum):
    PAID = "paid"
    DECLINED = "declined"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    event_time_ms: int
    order_id: str
    card_id: str
    shop_id: str | None = None
    amount_minor: AmountMinor
    tip_minor: AmountMinor | None = None
    rate: Annotated[int, Meta(ge=0)] = 0
    outcome: Outcome
    is_gift: bool = False
    tags: list[str] = []


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    event_time_ms: int
    ruling_id: str
    card_id: str
    amount_minor: AmountMinor
    is_fraud: bool
    sign: int = 1


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    event_time_ms: int
    holder_id: str
    card_id: str
    since_ms: int


CARD = Entity("card", ("card_id",))
SHOP = Entity("shop", ("shop_id",))
ORDERS = StreamSource(
    name="orders", noun="order", contract=Order, id_field="order_id", table="orders", topic="orders.v1", plurals=(("outcome", "outcomes"),)
)  # fmt: skip
RULINGS = LabelFactSource(name="rulings", noun="ruling", contract=Ruling, id_field="ruling_id", table="rulings", topic="rulings.v1")  # fmt: skip
HOLDERS = ProfileSource(name="holders", noun="holder", contract=Holder, id_field="holder_id", table="holders", topic="holders.v1")  # fmt: skip
AMOUNT = col("amount_minor")


def view_of(*aggregates: object, **changes: object) -> FeatureView:
    """A view of the card over orders, with some of it changed."""
    given = {"name": "card_orders", "entity": CARD, "source": ORDERS, "aggregates": aggregates, **changes}
    return FeatureView(**given)  # type: ignore[arg-type]  # whatever the test wants refused
