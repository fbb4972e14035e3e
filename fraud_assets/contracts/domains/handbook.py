"""The card payments of the Fraud Detection Handbook, as a domain of its own.

A customer pays at a terminal; whether it was fraud becomes known days later. The label is a fact
apart, timed by when it became known, so no feature can read it early.
"""

from typing import Annotated

from msgspec import Meta

from fraud_assets.contracts.events import AmountMinor, Event, Id

# Both live on the book's map of 100 by 100 without unit; fixed point as for real coordinates.
PlaceE6 = Annotated[int, Meta(ge=0, le=100_000_000)]


class HandbookTransaction(Event, frozen=True, kw_only=True):
    """One card payment."""

    transaction_id: Id
    customer_id: Id
    terminal_id: Id
    amount_minor: AmountMinor


class HandbookLabelFact(Event, frozen=True, kw_only=True):
    """What became known of one payment; `event_time_ms` is `label_known_at`.

    The keys and the amount are copied from the payment, so that risk by terminal needs no join.
    """

    fact_id: Id
    transaction_id: Id
    customer_id: Id
    terminal_id: Id
    amount_minor: AmountMinor
    is_fraud: bool
    sign: Annotated[int, Meta(ge=-1, le=1)] = 1


class HandbookCustomer(Event, frozen=True, kw_only=True):
    """Where a customer lives; `event_time_ms` is its valid-from."""

    profile_id: Id
    customer_id: Id
    x_e6: PlaceE6
    y_e6: PlaceE6


class HandbookTerminal(Event, frozen=True, kw_only=True):
    """Where a terminal stands; `event_time_ms` is its valid-from."""

    profile_id: Id
    terminal_id: Id
    x_e6: PlaceE6
    y_e6: PlaceE6
