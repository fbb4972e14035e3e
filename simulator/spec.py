"""What a world is made from. Two processes with the same spec live in the same world."""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

MAX_SEED = 2**63 - 1
MIN_ACCOUNTS = 100  # fewer have no neighbours, colleagues and thieves among them

# Spare identities (cards, devices seen once) are handed out in blocks, one per day, so that days can
# be made in any order, or at once, and still never share a "new" card by accident.
SPARES_PER_PURCHASE = 0.12


class WorldSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """seed: of everything; start_ms: midnight UTC of the first day; rate_per_day: mean purchases.

    until_ms: ends the last day early, so that a live run can carry on from the present.

    The shares are of purchases, each of a kind of fraud (`kinds.py`); testing_share: card testing with its cash-out.
    """

    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)]
    start_ms: int
    days: Annotated[int, Meta(ge=1)]
    rate_per_day: Annotated[int, Meta(ge=1)]
    accounts: Annotated[int, Meta(ge=MIN_ACCOUNTS)]
    until_ms: int | None = None
    events: int = 400
    promoters: int = 60
    testing_share: float = 0.006
    takeover_share: float = 0.003
    stolen_share: float = 0.002
    scalping_share: float = 0.001
    friendly_share: float = 0.0014
    collusion_share: float = 0.0006
    mule_share: float = 0.001

    @property
    def end_ms(self) -> int:
        """First instant after the history: `until_ms`, or the end of the last day."""
        return self.start_ms + self.days * DAY_MS if self.until_ms is None else self.until_ms

    @property
    def purchases(self) -> int:
        """Purchases to expect in all."""
        return self.days * self.rate_per_day

    @property
    def spare_block(self) -> int:
        """New identities available to one day, or to one live run."""
        return max(4_000, int(self.rate_per_day * SPARES_PER_PURCHASE))

    @property
    def spares(self) -> int:
        """Each day's block, one for live runs and one for the attackers' own."""
        return self.spare_block * (self.days + 2)


def default_accounts(days: int, rate_per_day: int) -> int:
    """About eight purchases a month each: people, not trading desks."""
    return int(np.clip(days * rate_per_day // 8, 4_000, 100_000))


def stream(spec: WorldSpec, *path: str | int) -> np.random.Generator:
    """A generator of its own for each purpose, so that one more draw here changes nothing there."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "big") % 2**63 for part in path]
    return np.random.default_rng(np.random.SeedSequence([spec.seed, *words]))
