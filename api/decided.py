"""What a scorer hands to the recorder of its decisions: bytes, for they are nearly free to make."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_type_hints

import msgspec

from fraud_assets.contracts.chain import canonical
from fraud_assets.contracts.events import Decision, StatesRead, ViewStatus

LAYOUT = 3

_CODES = list(ViewStatus)
_NO_CODE = 255
# Of whole pairs, and as long as any state's.
_PAIRS = frozenset(range(0, 2**16, 16))


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
    """Of `Decided`. A spool may be read by another version: a change of its fields is another number (`LAYOUTS`)."""


class Decided(msgspec.Struct, array_like=True):
    """One decision. request: the event as JSON with its names sorted (`as_request`, `Scored`), as it is in the record. features: float32, NaN
    for null. status: int8 of each unit.

    keys, versions, positions: of each group; a key is None where the payment names no such entity, positions are int64
    pairs (code, offset). headers: of the event that says it.
    """

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
    reason_codes: Sequence[str]
    degraded_reasons: list[str]
    self_included: bool
    headers: list[tuple[str, bytes]]
    shadow: dict[str, float] = {}
    scored_ms: dict[str, float] = {}
    ruled: str = ""


class _Named(msgspec.Struct, array_like=True):
    decision_id: str


def _layout_1() -> type[msgspec.Struct]:
    """Whose request was an object, from which three fields are taken."""
    hints = get_type_hints(Decided)
    later = {"event_time_ms", "transaction_id", "account_id", "shadow", "scored_ms", "ruled"}
    fields = [
        (name, Any if name == "request" else hints[name]) for name in Decided.__struct_fields__ if name not in later
    ]
    return msgspec.defstruct("Decided1", fields, array_like=True)


encode = msgspec.msgpack.Encoder().encode
as_request = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.msgpack.Decoder(Decided).decode
_decode_named = msgspec.msgpack.Decoder(_Named).decode
_decode_1 = msgspec.msgpack.Decoder(_layout_1()).decode


def decision_id(raw: bytes) -> str:
    """Of a `Decided` of any layout. Raises msgspec.DecodeError."""
    return _decode_named(raw).decision_id


def _from_layout_1(raw: bytes) -> Decided:
    said = msgspec.structs.asdict(_decode_1(raw))
    request = said.pop("request")
    names = {name: request[name] for name in ("event_time_ms", "transaction_id", "account_id")}
    return Decided(**said, **names, request=canonical(request))


# A spool that a version of before has left is recorded, too. Layout 2 is 3 without the last two fields, which have defaults.
LAYOUTS: Mapping[int, Callable[[bytes], Decided]] = {1: _from_layout_1, 2: decode, LAYOUT: decode}


class DecisionRecord:
    """Decided → the contract's Decision, with everything that is needed to recompute it.

    decode: of its frames. Raises what decoding raises.
    """

    def __init__(self, facts: Facts) -> None:
        """Raises ValueError for a layout that is not known here, and for a status that the contract does not know."""
        if facts.layout not in LAYOUTS:
            raise ValueError(f"layout {facts.layout}")
        self._facts = facts
        self.decode = LAYOUTS[facts.layout]
        codes = bytes(_CODES.index(ViewStatus(name)) for name in facts.statuses)
        self._to_contract = codes.ljust(256, bytes([_NO_CODE]))
        self._shape = len(facts.unit_names), *[len(facts.groups)] * 3
        # The same in each record, and so encoded once.
        self._groups, self._topics = (
            cast("list[str]", msgspec.Raw(canonical(names))) for names in (facts.groups, facts.topics)
        )

    def of(self, one: Decided, broker_clock_offset_ms: int) -> Decision:
        """To be encoded: its request, and names in its states_read, are JSON already. Raises ValueError if it is none of these facts."""
        if (len(one.status), len(one.keys), len(one.versions), len(one.positions)) != self._shape:
            raise ValueError("of other units or groups than its scorer said")
        if not _PAIRS.issuperset(map(len, one.positions)):
            raise ValueError("a position that is no pairs of a code and an offset")
        return Decision(
            event_time_ms=one.event_time_ms,
            decision_id=one.decision_id,
            transaction_id=one.transaction_id,
            account_id=one.account_id,
            request=cast("dict[str, object]", msgspec.Raw(one.request)),
            decided_at_ms=one.decided_at_ms,
            broker_clock_offset_ms=broker_clock_offset_ms,
            service=self._facts.service,
            service_digest=self._facts.service_digest,
            policy_digest=one.policy_digest,
            model_version=one.model_version,
            model_sha256=one.model_sha256,
            epoch=one.epoch,
            vector=one.features,
            view_codes=one.status.translate(self._to_contract),
            states=[],
            states_read=self._read(one),
            fraud_score=one.fraud_score,
            shadow_scores=one.shadow,
            scored_ms=one.scored_ms,
            action=one.action,
            ruled=one.ruled,
            reason_codes=list(one.reason_codes),
            degraded_reasons=one.degraded_reasons,
            self_included=one.self_included,
            latency_ms=one.latency_ms,
        )

    def _read(self, one: Decided) -> StatesRead | None:
        """Every state that was asked for; None if degraded."""
        if one.degraded_reasons:
            return None
        return StatesRead(
            groups=self._groups,
            keys=one.keys,
            versions=one.versions,
            positions=one.positions,
            topics=self._topics,
            partition_bits=self._facts.partition_bits,
        )
