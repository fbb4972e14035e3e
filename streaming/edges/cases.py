"""The label stage's case files: in Redis while they are young, in the lake for ever."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import structlog

from fraud_assets.contracts.events import Label, LabelFact
from fraud_assets.labels.facts import (
    SUBJECT_FIELDS,
    Case,
    Statement,
    Subject,
    Verdict,
    due_ms,
    statement_of,
    with_label,
)
from fraud_assets.stores.lake import Lake
from streaming.edges.recent import MOST, Recent

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Identity = tuple[str, str]
"""Account id and transaction id."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Case).decode
_decode_identity = msgspec.json.Decoder(Identity).decode
# A fresh store is filled from the lake before it is used, so that an emptied one forgets no case.
FILLED_KEY = b"lf:filled"


class RedisCases:
    """Case files by identity, and per partition the identities that wait for their label delay.

    Each write ends with its number, under a key of this process. A store that knows an older one has lost writes (a replica was
    promoted without the last, or an older copy restored), and gets them again before anything is made of what it holds.
    """

    def __init__(self, client: Any, keep_ms: int) -> None:
        self._client = client
        self._keep_ms = keep_ms
        self._number_key = f"lf-writer:{uuid.uuid4().hex}"
        self._number = self._held = 0  # of the last write, and of the last that the store has, as far as we know
        self._lost_since: int | None = None
        self._delay_ms = 0  # of the last write
        self._recent = Recent[Identity, tuple[Case, int]]()

    def is_filled(self) -> bool:
        return bool(self._client.exists(FILLED_KEY))

    def mark_filled(self) -> None:
        self._client.set(FILLED_KEY, b"1")

    def read(self, identities: Sequence[Identity]) -> list[Case | None]:
        if not identities:
            return []
        keys = [_key(identity) for identity in identities]
        number, *found = self._client.mget([self._number_key, *keys])
        self._notice(number)
        if self._put_back():
            found = self._client.mget(keys)
        return [_decode(raw) if raw else None for raw in found]

    def write(self, cases: Mapping[Identity, Case], partitions: Mapping[Identity, int], delay_ms: int) -> None:
        """Save cases. Those still without a verdict are due when their delay has passed, those that owe facts at once.

        What is owed does not expire: nobody else knows of it.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for identity, case in cases.items():
                pipe.set(_key(identity), _encode(case), px=None if case.outbox else self._keep_ms)
                waiting = _waiting_key(partitions[identity])
                if case.outbox:
                    pipe.zadd(waiting, {_encode(identity): 0})
                elif case.subject is None or case.standing is not None:
                    pipe.zrem(waiting, _encode(identity))
                else:
                    pipe.zadd(waiting, {_encode(identity): due_ms(case.subject.event_time_ms, delay_ms)})
            pipe.set(self._number_key, self._number + 1, px=self._keep_ms, get=True)
            before = pipe.execute()[-1]
        self._notice(before)
        self._delay_ms = delay_ms
        self._number += 1
        self._held = self._number
        if len(cases) <= MOST:  # a store that is filled has them from the lake
            self._recent.add(self._number, {one: (case, partitions[one]) for one, case in cases.items()})
        self._put_back()

    def _notice(self, number: bytes | None) -> None:
        """Which write the store remembers as the last of ours."""
        held = int(number or 0)
        if held < self._held:
            self._lost_since = held if self._lost_since is None else min(held, self._lost_since)
            self._held = held

    def _put_back(self) -> bool:
        """Write again what was lost, if it was; not what another process has said more of since."""
        if self._lost_since is None:
            return False
        since, self._lost_since = self._lost_since, None
        try:
            self._write_again(self._recent.since(since))
        except BaseException:
            self._lost_since = since
            raise
        return True

    def _write_again(self, lost: Mapping[Identity, tuple[Case, int]]) -> None:
        held = self._client.mget([_key(one) for one in lost]) if lost else []
        ours = {
            one: written
            for (one, written), raw in zip(lost.items(), held, strict=True)
            if raw is None or not _says_more(_decode(raw), written[0])
        }
        log.warning("label_cases_went_back", lost=len(lost), written_again=len(ours))
        cases, partitions = {one: case for one, (case, _) in ours.items()}, {one: at for one, (_, at) in ours.items()}
        self.write(cases, partitions, self._delay_ms)

    def due(self, partition: int, now_ms: int, limit: int) -> list[Identity]:
        """The longest due first."""
        self._notice(self._client.get(self._number_key))
        self._put_back()
        found = self._client.zrangebyscore(_waiting_key(partition), "-inf", now_ms, start=0, num=limit)
        return [_decode_identity(raw) for raw in found]

    def forget_due(self, partition: int, identities: Iterable[Identity]) -> None:
        members = [_encode(identity) for identity in identities]
        if members:
            self._client.zrem(_waiting_key(partition), *members)


def _says_more(one: Case, other: Case) -> bool:
    """A case only grows: by its subject, by statements and by facts."""
    return (one.subject is not None, len(one.statements), one.emitted) > (
        other.subject is not None,
        len(other.statements),
        other.emitted,
    )


def _key(identity: Identity) -> bytes:
    return b"lf:" + "\x00".join(identity).encode()


def _waiting_key(partition: int) -> str:
    return f"lf-due:{partition}"


class LakeCases:
    """Case files as the lake can tell them: the transaction, what was said, what was emitted."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def find(self, identities: Iterable[Identity]) -> dict[Identity, tuple[Case, int]]:
        """Cases of the transactions that the lake knows, with the partition each belongs to."""
        wanted = set(identities)
        names = pa.array([transaction_id for _, transaction_id in wanted], pa.string())
        found = self._cases(self._rows("transactions", [*SUBJECT_FIELDS, "source_partition"], names), names)
        return {identity: case for identity, case in found.items() if identity in wanted}

    def young(self, since_ms: int) -> dict[Identity, tuple[Case, int]]:
        """Cases of all transactions since `since_ms`: what an emptied store has lost and still needs."""
        columns = [*SUBJECT_FIELDS, "source_partition"]
        rows = self._lake.scan("transactions", since_ms, columns=columns)
        return self._cases(rows, rows["transaction_id"].combine_chunks())

    def unmet(self, since_ms: int) -> dict[Identity, tuple[Case, int]]:
        """What was said since `since_ms` of purchases that are not there: cases without a subject, and the partition of the label."""
        rows = self._lake.scan("labels", since_ms, columns=[*Label.__struct_fields__, "source_partition"])
        found: dict[Identity, tuple[Case, int]] = {}
        for row in rows.to_pylist():
            partition = row.pop("source_partition")
            label = msgspec.convert(row, Label)
            identity = label.account_id, label.transaction_id
            case, _ = found.get(identity, (Case(), partition))
            found[identity] = with_label(case, label), partition
        met = self.find(found)
        return {identity: one for identity, one in found.items() if identity not in met}

    def _rows(self, table: str, columns: list[str], names: pa.Array) -> pa.Table:
        if not len(names):
            return self._lake.schema(table).empty_table()
        return self._lake.scan(table, columns=columns, among=("transaction_id", names))

    def _cases(self, transactions: pa.Table, names: pa.Array) -> dict[Identity, tuple[Case, int]]:
        statements: dict[Identity, list[Statement]] = {}
        for row in self._rows("labels", list(Label.__struct_fields__), names).to_pylist():
            label = msgspec.convert(row, Label)
            statements.setdefault((label.account_id, label.transaction_id), []).append(statement_of(label))
        facts: dict[Identity, list[LabelFact]] = {}
        for row in self._rows("label_facts", list(LabelFact.__struct_fields__), names).to_pylist():
            fact = msgspec.convert(row, LabelFact)
            facts.setdefault((fact.account_id, fact.transaction_id), []).append(fact)
        found = {}
        for row in transactions.to_pylist():
            partition = row.pop("source_partition")
            subject = msgspec.convert(row, Subject)
            identity = (subject.account_id, subject.transaction_id)
            made = facts.get(identity, [])
            case = Case(subject, tuple(statements.get(identity, ())), standing(made), len(made))
            found[identity] = case, partition
        return found


def standing(facts: Sequence[LabelFact]) -> Verdict | None:
    """What facts in log order add up to: the last one, unless it took something back."""
    return Verdict(facts[-1].is_fraud, facts[-1].event_time_ms) if facts and facts[-1].sign > 0 else None
