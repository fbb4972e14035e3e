"""Route, append, deliver, commit: dying before or after any of these loses nothing and doubles nothing.

Here at a stop with nobody to hand over to; test_lake_writer.py dies while batches are written beside routing, test_hand_over.py has the rest.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from streaming.core.accept import TopicPartition
from streaming.core.records import Record, Send
from streaming.core.rekey import ReKeyer
from streaming.core.route import Router
from streaming.edges.broker import Mark
from streaming.edges.lake import LakeHistory, append_accepted
from streaming.edges.writer import LakeWriter
from streaming.router import RouterSink
from tests.streaming.events import DAY, KEY, T0, FakeSeen, record, transaction


class Crash(RuntimeError):
    pass


class FakeSender:
    """A topic in memory. `dies`: at which step the process ends."""

    def __init__(self, log: list[Send], dies: str = "") -> None:
        self.log, self.dies = log, dies

    def send(self, records: Iterable[Send]) -> None:
        found = list(records)
        if self.dies == "while sending":
            self.log.extend(found[: len(found) // 2])
            raise Crash
        self.log.extend(found)

    def mark(self) -> Mark:
        return Mark()

    def is_delivered(self, mark: Mark) -> bool:
        return mark.undelivered == 0

    def flush(self) -> None:
        if self.dies == "after sending":
            raise Crash


class DyingLake(Lake):
    dies = ""

    def append(self, table: str, rows: Any, name: str, *, rewrite: bool = True) -> list[str]:
        if self.dies == "before the lake":
            raise Crash
        return super().append(table, rows, name, rewrite=rewrite)


STEPS = ["before sending", "while sending", "after sending", "before the lake", "before the commit", ""]
AT = ("transactions.v1", 0)
LOG = [record(transaction(transaction_id=f"t{n % 8}", amount_minor=n % 8), n, T0 + n) for n in range(12)]


def run_worker(
    lake: DyingLake, seen: FakeSeen, sent: list[Send], committed: int, take: int, dies: str, log: Sequence[Record] = LOG
) -> int:
    """One process: consume `take` records from the committed offset, then stop; the offset it commits."""
    lake.dies = dies
    sender: Any = FakeSender(sent, dies)
    ends = {AT: committed}

    def commit(found: Mapping[TopicPartition, int]) -> None:
        if dies == "before the commit":
            raise Crash
        ends.update(found)

    writer = LakeWriter(functools.partial(append_accepted, lake, "worker-0"), sender, commit, every_s=3600)
    sink = RouterSink(Router(ReKeyer(registry()), seen, LakeHistory(lake, writer.recent), DAY, KEY), sender, writer)
    batch = log[committed : committed + take]
    try:
        for one in batch:
            sink.take(one)
        if dies == "before sending":
            raise Crash
        sink.flush()
    except Crash:
        pass
    return ends[AT]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("again", [3, 5, 12])
def test_dying_at_any_step_of_a_stop_changes_nothing(tmp_path: Path, step: str, again: int) -> None:
    """The first four records die at `step`; what is replayed may be cut elsewhere."""
    lake, seen, sent = DyingLake(tmp_path), FakeSeen(), list[Send]()
    committed = run_worker(lake, seen, sent, 0, 4, step)
    while committed < len(LOG):
        committed = run_worker(lake, seen, sent, committed, again, "")

    rows = lake.scan("transactions", duplicates=True).to_pylist()

    assert [row["source_offset"] for row in rows] == list(range(12))
    assert [row["is_duplicate"] for row in rows] == [n >= 8 for n in range(12)]
    origins = {(send.topic, dict(send.headers)["source_offset"]) for send in sent}
    assert len(origins) == 8 * 9


def test_entity_records_of_a_key_never_skip_an_offset(tmp_path: Path) -> None:
    """A state that applied offset 7 takes a later 6 for old: so a replay starts at or before every gap."""
    lake, seen, sent = DyingLake(tmp_path), FakeSeen(), list[Send]()
    log = [record(transaction(transaction_id=f"t{n}"), n, T0 + n) for n in range(12)]
    committed = run_worker(lake, seen, sent, 0, 6, "while sending", log)
    while committed < len(log):
        committed = run_worker(lake, seen, sent, committed, 5, "", log)

    offsets = [int(dict(send.headers)["source_offset"] or b"") for send in sent if send.topic == "entity.account.v1"]
    newest = -1
    for offset in offsets:
        assert offset <= newest + 1
        newest = max(newest, offset)
    assert newest == 11


def test_a_flushed_dedupe_store_is_refilled_from_the_real_lake(tmp_path: Path) -> None:
    """Every verdict after the loss is what it would have been without it."""
    lake, sent = DyingLake(tmp_path), list[Send]()
    committed = run_worker(lake, FakeSeen(), sent, 0, 8, "")

    run_worker(lake, FakeSeen(), sent, committed, 4, "")

    rows = lake.scan("transactions", duplicates=True).to_pylist()
    assert [row["is_duplicate"] for row in rows] == [n >= 8 for n in range(12)]


def test_a_refused_record_first_in_a_checkpoint_leaves_no_row_in_two_files(tmp_path: Path) -> None:
    """The first attempt holds junk and a row and dies uncommitted; the replay holds the junk alone."""
    lake, seen, sent = DyingLake(tmp_path), FakeSeen(), list[Send]()
    log = [record(b"junk", 0), record(transaction(), 1), record(transaction(transaction_id="t2"), 2)]
    run_worker(lake, seen, sent, 0, 2, "before the commit", log)

    committed = run_worker(lake, seen, sent, 0, 1, "", log)
    run_worker(lake, seen, sent, committed, 2, "", log)

    (file,) = tmp_path.rglob("*.parquet")
    assert file.stem == "transactions.v1-00000-" + "1".zfill(20) + "-worker-0"
    assert pq.read_table(file)["source_offset"].to_pylist() == [1, 2]


def test_nothing_to_append_writes_no_file(tmp_path: Path) -> None:
    assert append_accepted(Lake(tmp_path), "worker-0", []) == 0
    assert list(tmp_path.rglob("*.parquet")) == []
