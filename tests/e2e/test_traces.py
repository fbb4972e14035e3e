"""One trace from a request through a topic to the worker; and nothing of it where nobody asks."""

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.span_collector import Collector, collecting
from fraud_assets import tracing
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.tracing import Parent, Spans, spans_of
from streaming.core.records import Record, Send
from streaming.core.rekey import ReKeyer
from streaming.core.route import Router
from streaming.edges.lake import LakeHistory, append_accepted
from streaming.edges.writer import LakeWriter
from streaming.router import RouterSink
from streaming.settings import WorkerSettings
from tests.api.world import Producer, request, runtime, served, until, with_champion
from tests.models.made import Trained
from tests.streaming.events import DAY, KEY, FakeSeen
from tests.streaming.test_router_sink import FakeSender
from tests.test_architecture import importable, loaded_by_importing

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
PRIVATE = ("4539", "198.51.100.77", "anna@shop.example")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(tracing, "EXPORT_WITHIN_S", 60.0)  # it is a thread of this process, and the machine may be busy
    with collecting() as found:
        yield found


def router_of(folder: Path, spans: Spans | None) -> RouterSink:
    lake, sender = Lake(folder), FakeSender(list[Send]())
    made: Any = sender
    writer = LakeWriter(functools.partial(append_accepted, lake, "worker-0"), made, lambda _: None, every_s=3600)
    sink = RouterSink(Router(ReKeyer(registry()), FakeSeen(), LakeHistory(lake, writer.recent), DAY, KEY), made, writer)
    sink.spans = spans
    return sink


def topic_of(producer: Producer) -> list[Record]:
    """What the scorer produced, as a consumer gets it."""
    return [
        Record(topic, 0, place, time.time_ns() // 1_000_000, key, value, list(headers.items()))
        for place, ((topic, key, value), headers) in enumerate(zip(producer.sent, producer.headers, strict=True))
    ]


def test_a_trace_goes_from_the_api_through_the_topic_to_the_worker(
    store: OnlineStore, valkey_server: str, tmp_path: Path, trained: Trained, collector: Collector
) -> None:
    """Each span hangs from the one before, none holds what was sent; a caller's wish not to be traced is kept."""
    producer, models = Producer(), with_champion(tmp_path / "models", trained)
    made = runtime(models, valkey_server, producer, traces_endpoint=collector.endpoint)
    with served(made) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        sent = request(card_number="4539 1488 0343 6467", ip=PRIVATE[1], email=PRIVATE[2])
        client.post("/predict", json=sent, headers={"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"})
        answer = client.post("/predict", json=request(transaction_id="t2"))
        unwanted = client.post(
            "/predict", json=request(transaction_id="t3"), headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00"}
        )
        until(lambda: len(producer.decisions()) == 3)
    spans = spans_of(WorkerSettings(traces_endpoint=collector.endpoint), "fraud-worker-router")
    assert spans is not None
    sink = router_of(tmp_path / "lake", spans)
    for record in topic_of(producer):
        sink.take(record)
    sink.route_buffer()
    spans.close()

    mine = {answer.headers["traceparent"].split("-")[1], CALLER}
    for trace in mine:
        assert collector.by_trace()[trace] == {"fraud-scorer", "fraud-worker-router"}
    request_span, worker_span = (
        next(one for one in collector.spans if one.trace_id == CALLER and one.service == who)
        for who in ("fraud-scorer", "fraud-worker-router")
    )
    assert (request_span.name, request_span.parent_id) == ("POST /predict", "00f067aa0ba902b7")
    assert (worker_span.name, worker_span.parent_id) == ("process decisions.v1", request_span.span_id)
    assert request_span.attributes["http.response.status_code"] == "200"
    assert 0 < request_span.ended_ns - request_span.began_ns < 60e9
    assert unwanted.headers["traceparent"].split("-")[1] not in collector.by_trace()
    assert not any(value in repr(collector.spans) for value in PRIVATE)


def test_the_share_of_traces_is_by_their_ids(collector: Collector) -> None:
    """So that every process says the same of one."""
    all_, none, half = (Spans("test", collector.endpoint, share) for share in (1.0, 0.0, 0.5))
    ids = [f"{'0' * 16}{n * 2**60:016x}" for n in range(16)]

    assert [all_.keeps(one) for one in ids] == [True] * 16
    assert [none.keeps(one) for one in ids] == [False] * 16
    assert [half.keeps(one) for one in ids] == [True] * 8 + [False] * 8
    for spans in (all_, none, half):
        spans.close()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (f"00-{CALLER}-00f067aa0ba902b7-01", Parent(CALLER, "00f067aa0ba902b7", is_sampled=True)),
        (f"00-{CALLER}-00f067aa0ba902b7-00", Parent(CALLER, "00f067aa0ba902b7", is_sampled=False)),
        ("garbage", None),
    ],
)
def test_a_records_parent_is_read_from_its_header(given: str, found: Parent | None) -> None:
    assert Parent.of([("client", b"shop"), ("traceparent", given.encode())]) == found
    assert Parent.of([("client", b"shop"), ("traceparent", None)]) is None


def test_where_nobody_asks_no_span_is_made_and_nothing_is_loaded() -> None:
    assert spans_of(WorkerSettings(), "fraud-worker-router") is None
    for process in ("api", "streaming"):
        loaded = loaded_by_importing(importable(process))  # redis loads what OpenTelemetry has for metrics
        assert not {name for name in loaded if name.startswith(("opentelemetry.exporter", "opentelemetry.sdk.trace"))}
