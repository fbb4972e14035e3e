"""Decisions of a moment to their records: what the contract's `Decision` is to the byte, written in pieces.

What a part has in common is encoded once for it, and a vector goes from bytes to the base64 of its record; of a struct of thirty-four
fields that is encoded whole, a recorder has twice the work.
"""

from binascii import b2a_base64
from typing import Any, NamedTuple, cast

import msgspec

from api.decided import LAYOUTS, Decider, Facts, Headers, Part
from fraud_assets.contracts.chain import canonical
from fraud_assets.contracts.events import Decision, StatesRead, ViewStatus

_CODES = list(ViewStatus)
_NO_CODE = 255
# Of whole pairs, and as long as any state's.
_PAIRS = frozenset(range(0, 2**16, 16))


class Record(NamedTuple):
    """said: a Decision's canonical JSON before it has its place in the chain."""

    said: bytes
    decision_id: str
    account_id: str
    headers: Headers


def _piece(first: str, last: str) -> type[msgspec.Struct]:
    """A Decision's fields from one to another: their JSON, side by side, is the Decision's."""
    fields = msgspec.structs.fields(Decision)
    names = [field.name for field in fields]
    picked = fields[names.index(first) : names.index(last) + 1]
    asked = [
        (one.name, Any, msgspec.field(default=one.default, default_factory=one.default_factory))  # type: ignore[call-overload]
        for one in picked  # of the two at most one is given
    ]
    return msgspec.defstruct("Piece", asked, kw_only=True, omit_defaults=True, gc=False)


_Asked = _piece("event_time_ms", "request")
_Made = _piece("decided_at_ms", "epoch")
_Found = _piece("states", "latency_ms")


class DecisionRecords:
    """Part → what the contract's Decision is to the byte, with everything that is needed to recompute it.

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
        # The same in each record, and so encoded once.
        self._groups, self._topics = (
            cast("list[str]", msgspec.Raw(canonical(names))) for names in (facts.groups, facts.topics)
        )

    def of(self, part: Part, broker_clock_offset_ms: int) -> list[Record]:
        """One for each row. Raises ValueError if it is none of these facts, and LookupError if its places are none."""
        self._check(part)
        states = [
            [*column, nothing] for column, nothing in ((part.keys, None), (part.versions, 0), (part.positions, b""))
        ]
        made = [self._by(decider, part, broker_clock_offset_ms, part.epoch) for decider in part.deciders]
        vectors, codes = (
            _cut(raw, len(part.rows)) for raw in (part.features, part.status.translate(self._to_contract))
        )
        records = []
        for row, vector, code in zip(part.rows, vectors, codes, strict=True):
            by, read = made[row.decider], None
            if not row.degraded_reasons:
                read = self._read(states, row.places)
            elif part.epoch:
                by = self._by(part.deciders[row.decider], part, broker_clock_offset_ms, "")
            asked = _Asked(
                event_time_ms=row.event_time_ms, decision_id=row.decision_id, transaction_id=row.transaction_id, account_id=row.account_id,
                request=msgspec.Raw(row.request),
            )  # fmt: skip
            found = _Found(
                states=[], states_read=read, fraud_score=row.fraud_score, shadow_scores=row.shadow, scored_ms=part.scored_ms, action=row.action,
                ruled=row.ruled, reason_codes=row.reason_codes, degraded_reasons=row.degraded_reasons, self_included=row.self_included,
                latency_ms=row.latency_ms,
            )  # fmt: skip
            said = b"".join((
                memoryview(canonical(asked))[:-1], by, b2a_base64(vector, newline=False), b'","view_codes":"',
                b2a_base64(code, newline=False), b'",', memoryview(canonical(found))[1:],
            ))  # fmt: skip
            records.append(Record(said, row.decision_id, row.account_id, part.headers[row.asked]))
        return records

    def _read(self, states: list[list[Any]], places: list[int]) -> StatesRead:
        """Every state that was asked for. The last of each column is what place -1 finds."""
        keys, versions, positions = states
        return StatesRead(
            groups=self._groups,
            keys=[keys[place] for place in places],
            versions=[versions[place] for place in places],
            positions=[positions[place] for place in places],
            topics=self._topics,
            partition_bits=self._facts.partition_bits,
        )

    def _by(self, decider: Decider, part: Part, broker_clock_offset_ms: int, epoch: str) -> bytes:
        """What a record says between its request and its vector. epoch: none, of a decision without history."""
        made = _Made(
            decided_at_ms=part.decided_at_ms, broker_clock_offset_ms=broker_clock_offset_ms, service=self._facts.service,
            service_digest=self._facts.service_digest, policy_digest=decider.policy_digest, model_version=decider.model_version,
            model_sha256=decider.model_sha256, epoch=epoch,
        )  # fmt: skip
        return b"," + canonical(made)[1:-1] + b',"vector":"'

    def _check(self, part: Part) -> None:
        n, groups = len(part.rows), len(self._facts.groups)
        if len(part.status) != n * len(self._facts.unit_names) or any(len(row.places) != groups for row in part.rows):
            raise ValueError("of other units or groups than its scorer said")
        if not len(part.keys) == len(part.versions) == len(part.positions) or n == 0 or len(part.features) % n:
            raise ValueError("columns of unequal length")
        if not _PAIRS.issuperset(map(len, part.positions)):
            raise ValueError("a position that is no pairs of a code and an offset")


def _cut(raw: bytes, n: int) -> list[memoryview]:
    """In as many equal parts."""
    width, whole = len(raw) // n, memoryview(raw)
    return [whole[at : at + width] for at in range(0, n * width, width)] if width else [whole] * n
