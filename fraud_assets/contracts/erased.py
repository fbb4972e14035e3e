"""What stays of a decision whose person was erased: its place in the chain, and nothing that it said."""

from typing import Annotated

from msgspec import Meta

from fraud_assets.contracts.events import Event, Id


class ErasedDecision(Event, frozen=True, kw_only=True):
    """A link of `contracts/chain.py` whose record is gone; a receipt vouches for it (`stores/receipts.py`).

    `event_time_ms` is the beginning of the decision's day. The digests are those that the scorer gave: over a random id, a vector and
    the digest before, so nobody can guess what they were made of.
    """

    receipt: Id
    chain_id: str
    chain_position: Annotated[int, Meta(ge=1)]
    previous_sha256: str
    sha256: str
