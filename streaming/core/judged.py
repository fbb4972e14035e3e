"""Events of raw topics for those who follow a router, which alone judges what is no event. Pure."""

import msgspec

from fraud_assets.contracts.codec import MAX_EVENT_BYTES, BadEvent, E, Reason, decode


def decode_judged(contract: type[E], raw: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> E:
    """An event that a router accepted. One of the next version may know fields that we do not, and nothing of ours is made of them:
    refusing it would leave a hole in states that decisions are made by, and a payment without a verdict. Raises BadEvent.
    """
    try:
        return decode(contract, raw, max_bytes=max_bytes)
    except BadEvent as bad:
        if bad.reason != Reason.UNKNOWN_FIELD or "." in bad.field:
            raise
    known = contract.__struct_encode_fields__
    said = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return decode(
        contract,
        msgspec.json.encode({name: value for name, value in said.items() if name in known}),
        max_bytes=max_bytes,
    )
