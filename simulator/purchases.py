"""Attempted purchases as columns: the one shape that ordinary people and attackers both produce."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fraud_assets.contracts.events import Outcome, PaymentMethod, Tier
from simulator.world import Flags, Index, Ints, Small

METHODS = (PaymentMethod.CARD, PaymentMethod.WALLET, PaymentMethod.BANK, PaymentMethod.VOUCHER)
TIERS = (Tier.STANDARD, Tier.PREMIUM, Tier.VIP)
OUTCOMES = (Outcome.APPROVED, Outcome.DECLINED_BY_US, Outcome.DECLINED_BY_ISSUER, Outcome.ABANDONED)
APPROVED, DECLINED_BY_US, DECLINED_BY_ISSUER, ABANDONED = range(4)
CARD, WALLET, BANK, VOUCHER = range(4)
STANDARD, PREMIUM, VIP = range(3)

NO_CAMPAIGN = -1
# Places are int64 microdegrees; this stands for "the app did not share it" and becomes null.
NO_PLACE = np.int32(2**31 - 1)


@dataclass(frozen=True)
class Purchases:
    """One row per attempt. All but `origin` and `browsing` are written for the platform to see.

    Columns are indices into the world, times ms UTC, money minor units. `origin` is the campaign
    that made the row, or -1; only the truth and the labels, never an observable, are made from it.
    `browsing`: page views that led to the purchase.
    """

    time_ms: Ints
    account: Index
    event: Index
    tickets: Small
    tier: Small
    device: Index
    ip: Index
    card: Index
    method: Small
    amount_minor: Ints
    billing: Small
    lat_e6: Index
    lon_e6: Index
    outcome: Small
    browsing: Small
    origin: Index

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: Ints | Flags | slice) -> "Purchases":
        """The chosen rows, in that order."""
        return Purchases(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def by_time(self) -> "Purchases":
        """Ordered by time; equal times keep the order they were made in."""
        return self.take(np.argsort(self.time_ms, kind="stable"))


_DTYPE: Mapping[Any, type[np.signedinteger[Any]]] = {Ints: np.int64, Index: np.int32, Small: np.int8}
# What is made of no attack at all.
NOBODY = Purchases(**{f.name: np.empty(0, _DTYPE[f.type]) for f in fields(Purchases)})


def concat(parts: list[Purchases]) -> Purchases:
    """All rows of all parts, in order."""
    return Purchases(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Purchases)})
