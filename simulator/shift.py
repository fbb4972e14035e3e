"""The honest world changes: everything is dearer, people buy more at once and pay by wallet. A model learnt on the old one meets it."""

from dataclasses import replace

import numpy as np

from simulator.market import rounded
from simulator.purchases import CARD, WALLET, Purchases

_DEARER = 1.6  # e to this power is the price of level 1 in those of level 0
_TO_WALLET = 0.8
_MORE = 0.6


def shifted(rows: Purchases, from_ms: int, level: float, rng: np.random.Generator) -> Purchases:
    """level: 0 changes nothing, 1 as much as this world can. What thieves buy costs as much more."""
    later = rows.time_ms >= from_ms
    more = later & (rng.random(len(rows)) < _MORE * level)
    tickets = np.where(more, np.minimum(rows.tickets * 2, 10), rows.tickets).astype(np.int8)
    dearer = np.where(later, np.exp(_DEARER * level), 1.0) * (tickets / rows.tickets)
    to_wallet = later & (rows.method == CARD) & (rng.random(len(rows)) < _TO_WALLET * level)
    return replace(
        rows,
        tickets=tickets,
        amount_minor=np.where(dearer == 1.0, rows.amount_minor, rounded(rows.amount_minor * dearer)),
        method=np.where(to_wallet, WALLET, rows.method).astype(np.int8),
    )
