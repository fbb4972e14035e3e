"""What a scorer hands to the recorder of its decisions: bytes, for they are nearly free to make."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

import msgspec

from fraud_assets.contracts.chain import canonical
from fraud_assets.contracts.events import Decision, StateRead, ViewStatus

LAYOUT = 1

# Statuses of all units, as text: a few dozen ways, some 2 kB each.
MAX_STATUS_TEXTS = 1_000


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
    """Of `Decided`. A spool may be read by another version: a change of its fields is another number."""


class Decided(msgspec.Struct, array_like=True):
    """One decision. features: float32, NaN for null. status: int8 of each unit.

    keys, versions, positions: of each group; a key is None where the payment names no such entity, positions are int64
    pairs (code, offset). headers: of the event that says it.
    """

    decision_id: str
    request: Any
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


_POSITION = Struct("=qq")
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Decided).decode


class DecisionRecord:
    """Decided → the contract's Decision, with everything that is needed to recompute it."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._names = _Names(facts)
        self._statuses = _StatusTexts(facts)

    def of(self, one: Decided, broker_clock_offset_ms: int) -> Decision:
        """To be encoded: its view_status is JSON already."""
        return Decision(
            event_time_ms=one.request["event_time_ms"],
            decision_id=one.decision_id,
            transaction_id=one.request["transaction_id"],
            account_id=one.request["account_id"],
            request=one.request,
            decided_at_ms=one.decided_at_ms,
            broker_clock_offset_ms=broker_clock_offset_ms,
            service=self._facts.service,
            service_digest=self._facts.service_digest,
            policy_digest=one.policy_digest,
            model_version=one.model_version,
            model_sha256=one.model_sha256,
            epoch=one.epoch,
            vector=one.features,
            view_status=self._statuses[one.status],
            states=self._states(one),
            fraud_score=one.fraud_score,
            shadow_scores=one.shadow,
            action=one.action,
            reason_codes=list(one.reason_codes),
            degraded_reasons=one.degraded_reasons,
            self_included=one.self_included,
            latency_ms=one.latency_ms,
        )

    def _states(self, one: Decided) -> list[StateRead]:
        """Every state that was asked for; an unknown entity has version 0 and no position. None if degraded."""
        if one.degraded_reasons:
            return []
        names, asked = self._names, zip(self._facts.groups, one.keys, one.versions, one.positions, strict=True)
        return [
            StateRead(
                group=group,
                entity_key=key,
                version=version,
                position={names[code]: offset for code, offset in _POSITION.iter_unpack(position)},
            )
            for group, key, version, position in asked
            if key is not None
        ]


class _Names(dict[int, str]):
    """`<topic>/<partition>` by code; of a topic that nobody knows its number, which then equals no recomputation's."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __missing__(self, code: int) -> str:
        topics, bits = self._facts.topics, self._facts.partition_bits
        number, partition = code >> bits, code & ((1 << bits) - 1)
        self[code] = name = f"{topics[number] if 0 <= number < len(topics) else number}/{partition}"
        return name


class _StatusTexts(dict[bytes, Any]):
    """View statuses by their codes, as JSON for `contracts/chain.py`: there are few ways they can be, and each is a tenth of a record."""

    def __init__(self, facts: Facts) -> None:
        self._units = facts.unit_names
        self._statuses = [ViewStatus(name) for name in facts.statuses]

    def __missing__(self, codes: bytes) -> Any:
        named = dict(zip(self._units, map(self._statuses.__getitem__, codes), strict=True))
        if len(self) >= MAX_STATUS_TEXTS:
            self.clear()
        self[codes] = text = msgspec.Raw(canonical(named))
        return text
