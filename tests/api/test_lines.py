"""One line for each request, that says who asked for what, and nothing of what was sent."""

import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from structlog.testing import capture_logs

from api.access import Scope
from tests.api.test_labels import label
from tests.api.world import CARDS, MADE, Producer, bearer, request, runtime, served, until

PLANTED = (*CARDS, "somebody@example.com", "203.0.113.77")


def line_of(
    client: TestClient[Litestar],
    method: str,
    path: str,
    headers: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> Mapping[str, Any]:
    """The one line of a request, known by its trace; fails if there is another, or none."""
    trace = uuid.uuid4().hex
    with capture_logs() as said:
        client.request(method, path, headers={**headers, "traceparent": f"00-{trace}-{trace[:16]}-00"}, **options)
        found = until(lambda: [line for line in said if line.get("trace_id") == trace])
        client.get("/health/live")  # a second line would have been written by now
    assert [line["event"] for line in found] == ["request"]
    assert len([line for line in said if line.get("trace_id") == trace]) == 1
    return cast(Mapping[str, Any], found[0])


def test_a_decision_says_who_what_and_how_long(client: TestClient[Litestar]) -> None:
    line = line_of(client, "POST", "/predict", json={"transactions": [request(), request()]}, headers=bearer("score"))

    assert line["latency_ms"] > 0
    expected = {"method": "POST", "route": "/predict", "status": 200, "n": 2, "model_version": "v1"}
    assert expected | {"client": "score-client", "key_id": MADE["score"].key.id} == {
        name: value for name, value in line.items() if name not in ("event", "log_level", "latency_ms", "trace_id")
    }


@pytest.mark.parametrize(
    ("method", "path", "audit", "body"),
    [
        ("GET", "/admin/model", "model_shown", None),
        ("POST", "/admin/reload", "model_reload", None),
        ("POST", "/labels", "labels", {"labels": [label()]}),
    ],
)
def test_what_changes_or_shows_the_platform_is_audited(
    client: TestClient[Litestar], method: str, path: str, audit: str, body: object
) -> None:
    """Who, what and (on every line) when."""
    line = line_of(client, method, path, json=body)

    assert (line["audit"], line["client"], line["key_id"]) == (audit, "shop", MADE["all"].key.id)
    assert line["status"] in (200, 202)


def test_ids_that_look_like_cards_pass_and_are_counted_by_field_where_the_setting_says_so(
    shared_models: Path, valkey_server: str, producer: Producer
) -> None:
    """Of payments and of labels, and no line has the id."""
    number = "4915200000003"
    payments = {"transactions": [request(account_id=number), request(device_id=number, account_id=number), request()]}
    with served(runtime(shared_models, valkey_server, producer, cards_in_ids="count")) as client:
        lines = [
            line_of(client, "POST", "/predict", json=payments),
            line_of(client, "POST", "/labels", json={"labels": [label(account_id=number)]}),
            line_of(client, "POST", "/predict", json=request()),
        ]
        text = client.get("/metrics").text

    assert [line["status"] for line in lines] == [200, 202, 200]
    assert [line.get("card_like_ids") for line in lines] == [3, 1, None]
    assert lines[0]["card_like_fields"] == ["account_id", "device_id"]
    assert 'fraud_card_like_ids_total{field="account_id"} 3.0' in text
    assert number not in repr(lines) + text


def test_a_refused_attempt_is_on_record_too(client: TestClient[Litestar]) -> None:
    """Also the one of a caller without the scope, by name."""
    line = line_of(client, "POST", "/admin/reload", headers=bearer(Scope.SCORE))

    assert (line["status"], line["client"], line["problem"]) == (403, "score-client", "forbidden")


@pytest.mark.parametrize("planted", PLANTED)
def test_nothing_that_was_sent_is_in_a_line(client: TestClient[Litestar], planted: str) -> None:
    """In the path, the query, a header, an unknown field, a value in the wrong place, or a broken body."""
    json = {"Content-Type": "application/json"}
    lines = [
        line_of(client, "GET", f"/{planted}"),
        line_of(client, "GET", f"/metrics?card={planted}"),
        line_of(client, "GET", "/metrics", headers={"Authorization": f"Bearer {planted}"}),
        line_of(client, "POST", "/predict", json=request(**{planted: planted})),
        line_of(client, "POST", "/predict", json=request(category=planted, user_agent=planted)),
        line_of(client, "POST", "/predict", json=request(account_id=planted, transaction_id=planted)),
        line_of(client, "POST", "/predict", content=f'{{"card_number": "{planted}"'.encode(), headers=json),
        line_of(client, "POST", "/labels", json={"labels": [label(source=planted)]}),
    ]

    assert not [line for line in lines if planted in str(line)]


def test_a_failure_of_ours_says_where_and_not_what(
    client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception's message may hold what was sent."""

    def broken(*_: object) -> None:
        raise KeyError(CARDS[0])

    monkeypatch.setattr("api.routes.parse", broken)
    line = line_of(client, "POST", "/predict", json=request())

    assert (line["status"], line["problem"], line["error"]) == (500, "internal_error", "KeyError")
    assert line["at"][-1].endswith(" broken")
    assert CARDS[0] not in str(line)


def test_a_line_is_json_with_its_level_and_its_time_in_utc() -> None:
    """As the process writes it: ISO 8601 with microseconds, and what JSON has no form for as text."""
    code = """
import structlog, time_machine
from api import logs
logs.configure()
log = structlog.get_logger()
with time_machine.travel("2026-11-28T01:02:03.000450Z", tick=False):
    log.info("request", n=1, route="/predict", error=ValueError("odd"))
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("failed")
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.splitlines()

    assert said[0] == (
        b'{"n":1,"route":"/predict","error":"odd","event":"request","level":"info",'
        b'"timestamp":"2026-11-28T01:02:03.000450Z"}'
    )
    failed = msgspec.json.decode(said[1])
    assert (failed["level"], "ZeroDivisionError" in failed["exception"]) == ("error", True)
