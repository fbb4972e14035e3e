"""What a scorer hands to the recorder of its decisions: those of one moment as one block of bytes, which are nearly free to make."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_type_hints

import msgspec

from fraud_assets.contracts.chain import canonical

LAYOUT = 4

Headers = list[tuple[str, bytes]]


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What all decisions of a process have in common.

    groups, unit_names: what keys and statuses are of, in order. statuses: names by code. topics: by number; a position's
    code is (number << partition_bits) | partition.
    """

    service: str
    service_digest: str
    groups: tuple[str, ...]
    unit_names: tuple[str, ...]
    statuses: tuple[str, ...]
    topics: tuple[str, ...]
    partition_bits: int
    layout: int = LAYOUT
    """Of what is handed over. A spool may be read by another version: a change of its fields is another number (`LAYOUTS`)."""


class Row(msgspec.Struct, array_like=True):
    """One decision of a part, what it shares with no other.

    request: the event as JSON with its names sorted (`as_request`, `Scored`), as it is in the record. decider, asked: places in the part's
    `deciders` and `headers`. places: of each group, in the part's states; -1 where nothing was read.
    """

    decision_id: str
    event_time_ms: int
    transaction_id: str
    account_id: str
    request: bytes
    latency_ms: float
    decider: int
    asked: int
    places: list[int]
    fraud_score: float
    shadow: dict[str, float]
    action: str
    ruled: str
    reason_codes: Sequence[str]
    degraded_reasons: Sequence[str]
    self_included: bool


class Decider(msgspec.Struct, array_like=True):
    policy_digest: str
    model_version: str
    model_sha256: str


class Part(msgspec.Struct, array_like=True):
    """Decisions of one moment. features (n, n_features) float32, NaN for null. status (n, n_units) int8.

    keys, versions, positions: of each state that was read for any of them; a key is None for what an event does not name, positions are
    int64 pairs (code, offset). headers: of the events, by request.
    """

    rows: list[Row]
    decided_at_ms: int
    epoch: str
    deciders: list[Decider]
    headers: list[Headers]
    keys: list[str | None]
    versions: list[int]
    positions: list[bytes]
    features: bytes
    status: bytes
    scored_ms: dict[str, float] = {}


class _Decided(msgspec.Struct, array_like=True):
    """One decision as layout 3 has it, and 2 without the last two fields."""

    decision_id: str
    event_time_ms: int
    transaction_id: str
    account_id: str
    request: bytes
    decided_at_ms: int
    latency_ms: float
    epoch: str
    policy_digest: str
    model_version: str
    model_sha256: str
    features: bytes
    status: bytes
    keys: list[str | None]
    versions: list[int]
    positions: list[bytes]
    fraud_score: float
    action: str
    reason_codes: list[str]
    degraded_reasons: list[str]
    self_included: bool
    headers: Headers
    shadow: dict[str, float] = {}
    scored_ms: dict[str, float] = {}
    ruled: str = ""


class _Named(msgspec.Struct, array_like=True):
    decision_id: str


class _Rows(msgspec.Struct, array_like=True):
    rows: list[_Named]


def _layout_1() -> type[msgspec.Struct]:
    """Whose request was an object, from which three fields are taken."""
    hints = get_type_hints(_Decided)
    later = {"event_time_ms", "transaction_id", "account_id", "shadow", "scored_ms", "ruled"}
    fields = [
        (name, Any if name == "request" else hints[name]) for name in _Decided.__struct_fields__ if name not in later
    ]
    return msgspec.defstruct("Decided1", fields, array_like=True)


encode = msgspec.msgpack.Encoder().encode
as_request = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.msgpack.Decoder(Part).decode
_decode_named = msgspec.msgpack.Decoder(_Named).decode
_decode_rows = msgspec.msgpack.Decoder(_Rows).decode
_decode_3 = msgspec.msgpack.Decoder(_Decided).decode
_decode_1 = msgspec.msgpack.Decoder(_layout_1()).decode


def decision_ids(raw: bytes) -> list[str]:
    """Of a frame of any layout, in order; none of what is no such frame."""
    with suppress(msgspec.DecodeError):
        return [row.decision_id for row in _decode_rows(raw).rows]
    with suppress(msgspec.DecodeError):
        return [_decode_named(raw).decision_id]
    return []


def _from_layout_1(raw: bytes) -> Part:
    said = msgspec.structs.asdict(_decode_1(raw))
    request = said.pop("request")
    names = {name: request[name] for name in ("event_time_ms", "transaction_id", "account_id")}
    return _part_of(_Decided(**said, **names, request=canonical(request)))


def _from_layout_3(raw: bytes) -> Part:
    return _part_of(_decode_3(raw))


def _part_of(one: _Decided) -> Part:
    if not len(one.keys) == len(one.versions) == len(one.positions):
        raise ValueError("of other groups than its scorer said")
    row = Row(
        one.decision_id, one.event_time_ms, one.transaction_id, one.account_id, one.request, one.latency_ms, 0, 0,
        list(range(len(one.keys))), one.fraud_score, one.shadow, one.action, one.ruled, one.reason_codes, one.degraded_reasons,
        one.self_included,
    )  # fmt: skip
    decider = Decider(one.policy_digest, one.model_version, one.model_sha256)
    return Part(
        [row], one.decided_at_ms, one.epoch, [decider], [one.headers], one.keys, one.versions, one.positions,
        one.features, one.status, one.scored_ms,
    )  # fmt: skip


# A spool that a version of before has left is recorded, too.
LAYOUTS: Mapping[int, Callable[[bytes], Part]] = {
    1: _from_layout_1,
    2: _from_layout_3,
    3: _from_layout_3,
    LAYOUT: decode,
}
