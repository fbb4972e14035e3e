"""A caller's trace goes on through the scorer; and of what a caller plants, nothing comes out anywhere."""

import time
import uuid
from pathlib import Path

import httpx
import pytest
import redis
from confluent_kafka import Consumer
from litestar import Litestar
from litestar.testing import TestClient
from structlog.testing import capture_logs

from fraud_assets.stores.online import OnlineStore
from tests.api.processes import scorers
from tests.api.test_labels import label
from tests.api.world import ALL, Producer, bearer, request, until
from tests.models.made import Trained

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_trace_goes_on_in_answer_line_and_event(client: TestClient[Litestar], producer: Producer) -> None:
    """With a span of our own; and the events say which client asked, whichever of its keys it used."""
    with capture_logs() as said:
        answer = client.post("/predict", json=request(), headers={"traceparent": GOOD})
        until(lambda: [line for line in said if line.get("trace_id") == TRACE])
    client.post("/labels", json={"labels": [label()]}, headers={"traceparent": GOOD})
    until(producer.decisions)

    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01") and span != SPAN
    assert [line["trace_id"] for line in said if line.get("trace_id") == TRACE] == [TRACE]
    sent = {
        topic: headers["traceparent"].decode()
        for (topic, _, _), headers in zip(producer.sent, producer.headers, strict=True)
    }
    assert sent["decisions.v1"] == answer.headers["traceparent"]
    assert sent["labels.v1"].split("-")[1] == TRACE
    assert [headers["client"] for headers in producer.headers] == [b"shop", b"shop"]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"{GOOD}-more",
        f"00-{TRACE}-{SPAN}-01\u00e9",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{'4539148803436467':0>32}-{SPAN}-01",
    ],
)
def test_what_is_no_trace_begins_a_new_one(sturdy: TestClient[Litestar], given: str) -> None:
    """And is in no answer."""
    answer = sturdy.get("/health/live", headers={b"traceparent": given.encode("latin-1")})

    version, trace, span, _ = answer.headers["traceparent"].split("-")
    assert (version, len(trace), len(span)) == ("00", 32, 16)
    assert trace != TRACE and set(trace) != {"0"} and "4539148803436467" not in trace


def test_a_later_version_is_read_as_far_as_we_know_it(sturdy: TestClient[Litestar]) -> None:
    answer = sturdy.get("/health/live", headers={"traceparent": f"cc-{TRACE}-{SPAN}-01-what-the-future-holds"})

    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")


CARD, EMAIL, IP = "4539 1488 0343 6467", "planted.person@example.org", "198.51.100.77"
NEEDLES = [needle.encode() for needle in (CARD, CARD.replace(" ", ""), CARD.replace(" ", "-"), EMAIL, IP)]


@pytest.mark.e2e
def test_what_is_planted_is_in_no_log_store_or_topic(
    store: OnlineStore, valkey_server: str, broker: str, tmp_path: Path, trained: Trained
) -> None:
    """Card number, e-mail and address, where they belong and where they do not, against real processes."""
    group = f"planted-{uuid.uuid4().hex}"
    good = request(card_number=CARD, email=EMAIL, ip=IP)
    with scorers(1, tmp_path, trained, valkey_server, broker) as (scorer,), httpx.Client(headers=bearer(ALL)) as client:
        decided = client.post(f"{scorer.url}/predict", json=good, headers={"Idempotency-Key": EMAIL})
        many = client.post(
            f"{scorer.url}/predict", json={"transactions": [good] * 3}, headers={"tracestate": f"a={IP}"}
        )
        refused = [
            client.post(f"{scorer.url}/predict", json=good | {"category": CARD}),
            client.post(f"{scorer.url}/predict", json=good | {"card_number": EMAIL}),
            client.post(f"{scorer.url}/predict", json=good | {"ip": CARD}),
            client.post(f"{scorer.url}/predict", content=f'{{"card_number": "{CARD}"'),
            client.get(f"{scorer.url}/{CARD.replace(' ', '')}?email={EMAIL}"),
            client.post(f"{scorer.url}/labels", json={"labels": [label(source=CARD)]}),
            client.post(
                f"{scorer.url}/predict", json=good, headers={"Authorization": f"Bearer {CARD.replace(' ', '')}.{EMAIL}"}
            ),
        ]
        labelled = client.post(f"{scorer.url}/labels", json={"labels": [label()]})
        metrics = client.get(f"{scorer.url}/metrics").content
    logged = scorer.log.read_bytes()

    assert [answer.status_code for answer in (decided, many, labelled)] == [200, 200, 202]
    assert all(400 <= answer.status_code < 500 for answer in refused)
    kept = kept_in(valkey_server)
    records = topics_of(broker, group, at_least=5)
    everything = logged + metrics + kept + records + b"".join(answer.content for answer in (decided, many, *refused))
    assert b"decision_id" in records and b"label_id" in records and b"fraud:idempotency:" in kept
    for needle in NEEDLES:
        assert needle not in everything, needle


def kept_in(url: str) -> bytes:
    """Every key and value of a Redis."""
    client = redis.Redis.from_url(url)
    try:
        return b"".join(name + (client.get(name) or b"") for name in client.scan_iter(_type="string"))
    finally:
        client.close()


def topics_of(broker: str, group: str, at_least: int) -> bytes:
    """Keys, values and headers of all records in the topics that a scorer writes."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe(["decisions.v1", "labels.v1"])
    found: list[bytes] = []
    quiet_since_s = time.monotonic()
    while len(found) < at_least or time.monotonic() < quiet_since_s + 2:
        assert time.monotonic() < quiet_since_s + 60, f"only {len(found)} records"
        record = consumer.poll(0.2)
        if record is not None and not record.error():
            quiet_since_s = time.monotonic()
            found.append(record.key() + record.value() + repr(record.headers()).encode())
    consumer.close()
    return b"".join(found)
