"""The folder and its epoch: without one it waits, with another it starts again."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from quixstreams.sinks.base import SinkBackpressureError

from fraud_assets.contracts.topics import entity_topic
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_port import WentBack
from streaming.core.fold import GroupFolder
from streaming.core.records import Record, Send
from streaming.folder import EpochChanged, FoldSink, wait_for_epoch
from tests.streaming.events import record, transaction
from tests.streaming.test_fold import routed


class Silent:
    def __init__(self) -> None:
        self.sent: list[Send] = []

    def send(self, records: Iterable[Send]) -> None:
        self.sent.extend(records)

    def flush(self) -> None:
        pass


def sink_of(store: MemoryStore, epoch: str) -> FoldSink:
    plan = EnginePlan(registry())
    folders = {"account": GroupFolder(plan, plan.group("account"), store)}
    return FoldSink(plan, store, epoch, folders, Silent())  # type: ignore[arg-type]  # a fake of a class that connects


def one_record() -> Record:
    return routed([record(transaction())], "account")[0]


def test_a_flushed_store_pauses_folding_and_keeps_the_offset() -> None:
    """Backpressure makes Quix seek back: nothing is committed and nothing is written into the empty store."""
    store = MemoryStore(registry())
    store.publish_epoch("one", log="log", resume={}, now_ms=0)
    sink = sink_of(store, "one")
    store.server.clear()

    sink.take(one_record())
    with pytest.raises(SinkBackpressureError):
        sink.flush()

    assert store.server == {}


def test_folding_goes_on_when_its_own_epoch_is_back() -> None:
    """A failover that kept the world: the same records are delivered again and folded."""
    store = MemoryStore(registry())
    store.publish_epoch("one", log="log", resume={}, now_ms=0)
    sink, marker = sink_of(store, "one"), dict(store.server)
    store.server.clear()
    sink.take(one_record())
    with pytest.raises(SinkBackpressureError):
        sink.flush()
    store.server.update(marker)

    sink.take(one_record())
    sink.flush()

    assert store.read_many("account", ["a1"])[0] is not None


def test_a_new_epoch_ends_the_process() -> None:
    """Its offsets are others: the next process resumes where the snapshot ends, and this one writes nothing."""
    store = MemoryStore(registry())
    store.publish_epoch("one", log="log", resume={}, now_ms=0)
    sink = sink_of(store, "one")
    sink.take(one_record())
    sink.flush()
    publish_elsewhere(store, "two")
    before = dict(store.server)

    sink.take(one_record())
    with pytest.raises(SinkBackpressureError):
        sink.flush()
    sink.take(one_record())
    with pytest.raises(EpochChanged, match="two"):
        sink.flush()

    assert store.server == before


def test_an_epoch_published_after_a_loss_is_not_taken_for_the_old_one() -> None:
    """Flushed, waited, republished: folding on from our own offsets would leave out what lies between."""
    store = MemoryStore(registry())
    store.publish_epoch("one", log="log", resume={}, now_ms=0)
    sink = sink_of(store, "one")
    store.server.clear()
    sink.take(one_record())
    with pytest.raises(SinkBackpressureError):
        sink.flush()
    publish_elsewhere(store, "two")

    sink.take(one_record())
    with pytest.raises(EpochChanged, match="two"):
        sink.flush()


def publish_elsewhere(store: MemoryStore, epoch: str) -> None:
    MemoryStore(registry(), store.server).publish_epoch(epoch, log="log", resume={}, now_ms=0)


def test_a_store_that_went_back_is_behind_until_its_records_are_folded_again() -> None:
    """Whether the loss shows in a fold or in a look."""
    for look in (False, True):
        store = MemoryStore(registry())
        store.publish_epoch("one", log="log", resume={}, now_ms=0)
        sink, topic = sink_of(store, "one"), entity_topic("account").name
        store.hold("worker", {})
        sink.take(one_record())
        copy = dict(store.server)
        sink.flush()
        store.server.clear()
        store.server.update(copy)

        with pytest.raises(WentBack):
            _look_or_fold(sink, look)
        assert MemoryStore(registry(), store.server).current_epoch().behind

        successor = MemoryStore(registry(), store.server)
        again = sink_of(successor, "one")
        successor.hold("worker", {f"{topic}/0": 0})
        again.tick()
        assert successor.current_epoch().behind
        again.take(one_record())
        again.flush()
        again._looked_s = 0.0
        again.tick()
        assert not successor.current_epoch().behind
        assert successor.read_many("account", ["a1"])[0] is not None


def _look_or_fold(sink: FoldSink, look: bool) -> None:
    if look:
        sink.tick()
    else:
        sink.take(one_record())
        sink.flush()


def test_a_worker_waits_for_the_first_epoch() -> None:
    store = MemoryStore(registry())
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            MemoryStore(registry(), store.server).publish_epoch("one", log="log", resume={}, now_ms=0)

    assert wait_for_epoch(store, sleep).epoch == "one"
    assert len(naps) == 3


HEAVY = ("dagster", "duckdb", "mlflow", "polars", "pandas", "pyspark", "xgboost")


@pytest.mark.parametrize("role", ["router", "folder", "label_stage", "explainer", "database_sink", "epoch"])
def test_the_worker_loads_no_batch_engine(role: str) -> None:
    """They cost seconds of start and hundreds of megabytes, and none of them belongs beside a stream."""
    code = f"import streaming.{role}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_rows_of_the_lake_load_no_pandas_either(tmp_path: Path) -> None:
    """Arrow would, at the first rows that it makes and at the first that it gives back."""
    code = f"""
import sys
from fraud_assets.contracts.events import Transaction
from fraud_assets.engine.__main__ import PAYMENT
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from streaming.edges.cases import LakeCases
from streaming.edges.lake import without_pandas
without_pandas()
lake = Lake({str(tmp_path)!r})
lake.append("transactions", from_events(Transaction, [PAYMENT], [LogPosition(0, "transactions.v1", 0, 0, False)]), "x")
print(len(LakeCases(lake).find([("a", "t")])), "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1", "False"]
