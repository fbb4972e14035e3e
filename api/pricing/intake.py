"""Bytes to requests and outcomes, parsed strictly: one object, or a list under its own name."""

import re
from collections.abc import Sequence

from api.intake import MAX_AHEAD_MS, BadField, decode, no_card_in
from api.pricing.contract import MAX_BYTES, OutcomeBatch, PriceBatch, PriceOutcome, PriceRequest
from fraud_assets.contracts.cards import OnCard, refuse

_IS_BATCH = re.compile(rb'\s*\{\s*"(events|outcomes)"')


def requests_of(raw: bytes, now_ms: int, in_id: OnCard = refuse) -> tuple[bool, list[PriceRequest]]:
    """(whether the answer is a list, requests). Raises codec.BadEvent or BadField."""
    if not _IS_BATCH.match(raw):
        one = decode(PriceRequest, raw, MAX_BYTES)
        _check(one, now_ms, in_id, "")
        return False, [one]
    asked = decode(PriceBatch, raw, MAX_BYTES).events
    for place, one in enumerate(asked):
        _check(one, now_ms, in_id, f"events[{place}].")
    return True, asked


def outcomes_of(raw: bytes, in_id: OnCard = refuse) -> tuple[bool, Sequence[PriceOutcome]]:
    """The same for outcomes."""
    if not _IS_BATCH.match(raw):
        return False, [no_card_in(decode(PriceOutcome, raw, MAX_BYTES), in_id)]
    outcomes = decode(OutcomeBatch, raw, MAX_BYTES).outcomes
    return True, [no_card_in(one, in_id, f"outcomes[{place}].") for place, one in enumerate(outcomes)]


def _check(asked: PriceRequest, now_ms: int, in_id: OnCard, where: str) -> None:
    no_card_in(asked, in_id, where)
    if asked.event_time_ms > now_ms + MAX_AHEAD_MS:
        raise BadField(f"{where}event_time_ms", "more than 5 minutes ahead of our clock; send milliseconds UTC")
    if asked.floor_minor is not None and asked.cap_minor is not None and asked.floor_minor > asked.cap_minor:
        raise BadField(f"{where}floor_minor", "above cap_minor; lower the one or raise the other")
