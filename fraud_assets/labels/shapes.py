"""What the tables of the identity graph hold. Apart from what makes them, for who loads the asset graph should not wait for SciPy."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

# Kind of entity, and the column of a transaction that names one.
KINDS: Mapping[str, str] = {"device": "device_id", "card": "card_token", "ip": "ip_token"}

# A card is one person's, a device a household's; an address is whose turn it is. They add up to 1.
WEIGHTS: Mapping[str, float] = {"device": 0.4, "card": 0.45, "ip": 0.15}


@dataclass(frozen=True)
class Shape:
    """table: its name beside the lake. described: what its columns' names do not say."""

    table: str
    schema: pa.Schema
    described: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Caps:
    """Of each kind: the most accounts that may share an entity for it to say something about them.

    More share a carrier's address, a campus, a point of sale: they have nothing in common.
    """

    device: int
    card: int
    ip: int

    def of(self, kind: str) -> int:
        return int(getattr(self, kind))

    def column(self) -> pl.Expr:
        """Of an edge, the cap of its kind."""
        return pl.col("kind").replace_strict({kind: self.of(kind) for kind in KINDS}, return_dtype=pl.Int64)


EDGES = Shape(
    "identity_graph",
    pa.schema(
        [
            pa.field("kind", pa.string(), nullable=False),
            pa.field("entity_id", pa.string(), nullable=False),
            pa.field("account_id", pa.string(), nullable=False),
            pa.field("first_seen_ms", pa.int64(), nullable=False),
            pa.field("last_seen_ms", pa.int64(), nullable=False),
            pa.field("transactions", pa.int64(), nullable=False),
            pa.field("accounts", pa.int64(), nullable=False),
        ]
    ),
    {
        "kind": "device, card or ip.",
        "transactions": "Payments of this account with this entity, in the lookback.",
        "accounts": "The entity's degree: how many accounts have used it.",
    },
)

CONFIDENCE = Shape(
    "label_confidence",
    pa.schema(
        [
            pa.field("account_id", pa.string(), nullable=False),
            pa.field("transaction_id", pa.string(), nullable=False),
            pa.field("event_time_ms", pa.int64(), nullable=False),
            pa.field("is_confirmed", pa.bool_(), nullable=False),
            pa.field("is_fraud", pa.bool_(), nullable=False),
            pa.field("confidence", pa.float64(), nullable=False),
            pa.field("hops", pa.int8()),
            pa.field("through_kind", pa.string()),
            pa.field("through_id", pa.string()),
        ]
    ),
    {
        "is_confirmed": "A fraud fact stands; its confidence is 1.",
        "is_fraud": "Confirmed, or confident enough to count as fraud (PROPAGATED_AT in labels/propagation.py).",
        "hops": "Entities between it and an account with a confirmed fraud: 1 where it shares one, or is of that account. "
        "Null: too far to count.",
        "through_kind": "By what most of the confidence came: device, card, ip, or the account's own payments.",
    },
)
