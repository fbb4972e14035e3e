"""A row's change as a database's change-data-capture tells it (Debezium's envelope), read as the version that the row then is. Pure.

    {"op": "c|u|r|d", "before": …, "after": {…}, "ts_ms": …, "source": {"ts_ms": …, …}}

with or without a `payload` around it. `after` is the row, whose columns are the contract's fields; the rest of the envelope may
hold what it likes.
"""

import hashlib
from typing import Any, Literal, NamedTuple

import msgspec

from fraud_assets.contracts.codec import BadEvent, decode

# A schema, both rows and where they come from: some times the row.
MAX_ENVELOPE_BYTES = 128 * 1024


class _Source(msgspec.Struct):
    ts_ms: int | None = None


class _Change(msgspec.Struct):
    op: Literal["c", "u", "r", "d"]
    after: msgspec.Raw = msgspec.Raw(b"null")
    ts_ms: int | None = None
    source: _Source | None = None


class _Wrapped(msgspec.Struct):
    payload: _Change


class _Probe(msgspec.Struct):
    """No contract of events has these fields."""

    op: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Change(NamedTuple):
    """after: the row as JSON, None for a row that is gone. changed_ms: when the database changed it, else when the connector saw that."""

    after: bytes | None
    changed_ms: int | None


def change_of(raw: bytes) -> Change | None:
    """The change in an envelope, None if this is none. Raises BadEvent for bytes that are neither."""
    if b'"op"' not in raw:
        return None
    probed = _read(_Probe, raw)
    if probed.op is not msgspec.UNSET:
        found = _read(_Change, raw)
    elif probed.payload is not msgspec.UNSET:
        found = _read(_Wrapped, raw).payload
    else:
        return None
    if found.op == "d":
        return Change(None, None)
    # A connector that starts anew tells the same change again, with another time of its own.
    in_database_ms = found.source.ts_ms if found.source else None
    return Change(bytes(found.after), in_database_ms or found.ts_ms)


def version_of(change: Change, contract: Any, id_field: str, max_bytes: int) -> Any:
    """The event of the contract that a changed row is. Raises BadEvent, with the field's path in the envelope.

    Its time is the row's own `event_time_ms`, else the change's. Its id is made of all the row holds then: that of the row would be the
    same for each of its versions, and a change that is told again is the same version.
    """
    try:
        row = _read(dict, change.after or b"null")
        if change.changed_ms is not None:
            row.setdefault("event_time_ms", change.changed_ms)
        known = msgspec.json.encode(row, order="sorted")
        row[id_field] = f"cdc_{hashlib.blake2b(known, digest_size=16).hexdigest()}"
        return decode(contract, msgspec.json.encode(row), max_bytes=max_bytes)
    except BadEvent as bad:
        raise BadEvent(bad.reason, f"after.{bad.field}" if bad.field else "after", bad.detail) from None


def _read(kind: Any, raw: bytes) -> Any:
    """By the contracts' own codec: an envelope is no event, but is read and refused by the same rules."""
    return decode(kind, raw, max_bytes=MAX_ENVELOPE_BYTES)
