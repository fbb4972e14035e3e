"""The label stage's case files: in Redis while they are young, in the lake for ever."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from fraud_assets.contracts.events import Label, LabelFact
from fraud_assets.labels.facts import SUBJECT_FIELDS, Case, Statement, Subject, Verdict, due_ms, with_label
from fraud_assets.stores.lake import Lake

Identity = tuple[str, str]
"""Account id and transaction id."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Case).decode
_decode_identity = msgspec.json.Decoder(Identity).decode
# A fresh store is filled from the lake before it is used, so that an emptied one forgets no case.
FILLED_KEY = b"lf:filled"


class RedisCases:
    """Case files by identity, and per partition the identities that wait for their label delay."""

    def __init__(self, client: Any, keep_ms: int) -> None:
        self._client = client
        self._keep_ms = keep_ms

    def is_filled(self) -> bool:
        return bool(self._client.exists(FILLED_KEY))

    def mark_filled(self) -> None:
        self._client.set(FILLED_KEY, b"1")

    def read(self, identities: Sequence[Identity]) -> list[Case | None]:
        found = self._client.mget([_key(identity) for identity in identities]) if identities else []
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
            pipe.execute()

    def due(self, partition: int, now_ms: int, limit: int) -> list[Identity]:
        """The longest due first."""
        found = self._client.zrangebyscore(_waiting_key(partition), "-inf", now_ms, start=0, num=limit)
        return [_decode_identity(raw) for raw in found]

    def forget_due(self, partition: int, identities: Iterable[Identity]) -> None:
        members = [_encode(identity) for identity in identities]
        if members:
            self._client.zrem(_waiting_key(partition), *members)


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
            statements.setdefault((label.account_id, label.transaction_id), []).append(
                Statement(label.event_time_ms, label.source, label.revision, label.is_fraud, label.label_id)
            )
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
