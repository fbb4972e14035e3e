"""The client of the benchmarks: it sends when a request is due, and counts from then."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from benchmarks import open_loop
from benchmarks.api_open_loop import at_random, evenly, joined, told
from benchmarks.api_vs_empty import payment
from benchmarks.open_loop import GIVE_UP_S, Taken, Target, Turn, Wires, is_whole, measured
from benchmarks.payments import write_bodies
from deploy.local.ports import LOOPBACK

WITHIN_S = 20.0


@dataclass
class Shop:
    """A server whose answers are `reply(n)` for the n-th request: a status, or None to hang up; and what it has seen."""

    reply: Callable[[int], int | None]
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def until(self, many: int) -> None:
        """Returns once so many requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.bodies) >= many, WITHIN_S), len(self.bodies)

    def served(self, body: bytes) -> int | None:
        with self.changed:
            number = len(self.bodies)
            self.bodies.append(body)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.changed.notify_all()
        status = self.reply(number)
        with self.changed:
            self.at_once -= 1
        return status


@contextmanager
def opened(reply: Callable[[int], int | None] = lambda _: 200) -> Iterator[Shop]:
    shop = Shop(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            shop.connections += 1

        def do_POST(self) -> None:
            status = shop.served(self.rfile.read(int(self.headers["Content-Length"])))
            if status is None:
                self.close_connection = True
                return
            answer = b'{"degraded_reasons":["online_store_timeout"]}' if self.path == "/degraded" else b"{}"
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    shop.port = server.server_port
    try:
        yield shop
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def load(port: int, due_s: list[float], path: str = "/predict") -> Taken:
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    return open_loop.open_loop(Wires(port), itertools.repeat(request), due_s)


def test_requests_are_sent_though_nobody_answers_and_the_wait_is_counted() -> None:
    """A client that waits for answers would never send the second, and would find each of them fast."""

    def after_all(_: int) -> int:
        shop.until(20)
        return 200

    with opened(after_all) as shop:
        taken = load(shop.port, evenly(100, 0.2))

    assert (len(taken.latency_ms), taken.failures) == (20, {})
    assert max(taken.latency_ms) >= 190  # the first, answered when the last was due
    assert max(taken.latency_ms) > min(taken.latency_ms) + 100


def test_a_client_that_is_late_says_so_and_counts_it() -> None:
    with opened() as shop:
        taken = load(shop.port, [-0.3, -0.3, -0.3])

    overdue_ms = 300 - open_loop.HEAD_START_S * 1e3 - 1
    assert min(taken.late_ms) >= overdue_ms
    assert min(taken.latency_ms) >= overdue_ms


def test_a_request_without_an_answer_counts_as_one_that_was_given_up() -> None:
    """A refusal is fast, and no decision."""
    replies = {1: 503, 2: None}
    with opened(lambda number: replies.get(number, 200)) as shop:
        taken = load(shop.port, evenly(20, 0.2))

    assert taken.failures == {"status_503": 1, "reset": 1}
    assert sorted(taken.latency_ms)[2:] == [GIVE_UP_S * 1e3] * 2
    assert max(sorted(taken.latency_ms)[:2]) < GIVE_UP_S * 1e3
    taken.seconds = 2.0
    assert taken.per_s == 1.0


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "GIVE_UP_S", 0.2)
    done = threading.Event()

    def never(_: int) -> int:
        done.wait(WITHIN_S)
        return 200

    with opened(never) as shop:
        taken = load(shop.port, [0.0, 0.01])
        done.set()

    assert (taken.failures, taken.latency_ms) == ({"timeout": 2}, [200.0, 200.0])


def test_a_server_that_is_gone_refuses() -> None:
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        taken = load(held.getsockname()[1], [0.0, 0.0])

    assert taken.failures == {"refused": 2}


def test_decisions_without_their_history_are_counted() -> None:
    with opened() as shop:
        assert load(shop.port, [0.0, 0.0], "/degraded").degraded == 2
        assert load(shop.port, [0.0, 0.0]).degraded == 0


def test_a_closed_loop_has_as_many_under_way_as_it_has_clients() -> None:
    def together(number: int) -> int:
        if number < 3:
            shop.until(3)
        return 200

    with opened(together) as shop:
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        taken = open_loop.closed_loop(Wires(shop.port), itertools.repeat(request), 3, 0.2)

    assert shop.most_at_once == shop.connections == 3
    assert len(taken.latency_ms) > 3
    assert taken.seconds >= 0.2


def test_its_own_process_keeps_connections_and_sends_each_body_in_turn(tmp_path: Path) -> None:
    (tmp_path / "bodies").write_bytes(b"1\n2\n3\n")
    with opened() as shop:
        targets = {
            path: Target(shop.port, f"/{path}", str(tmp_path / "bodies"), "secret") for path in ("predict", "degraded")
        }
        first, second, third = measured(
            targets, [Turn("predict", [0.0]), Turn("degraded", [0.0]), Turn("predict", [0.0, 0.2, 0.4])]
        )

    assert shop.bodies == [b"1", b"1", b"2", b"3", b"1"]
    assert shop.connections == 1
    assert [len(turn.latency_ms) for turn in (first, second, third)] == [1, 1, 3]
    assert [turn.degraded for turn in (first, second, third)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("heard", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", False),
        (b"", False),
    ],
)
def test_an_answer_may_come_in_pieces(heard: bytes, whole: bool) -> None:
    assert is_whole(heard) is whole


def test_percentiles_are_of_all_turns_together() -> None:
    """By hand: of 1 to 100, the median lies between 50 and 51, and p99 a hundredth above 99."""
    low = Taken([float(ms) for ms in range(1, 51)], [0.0] * 50, 1, {"reset": 1}, 2.0)
    high = Taken([float(ms) for ms in range(51, 101)], [2.0] * 50, 2, {"reset": 1, "timeout": 3}, 3.0)

    whole = joined([high, low])

    shown = told(whole)
    assert (shown["p50"], shown["max"], shown["late_p50"], shown["late_max"]) == (50.5, 100.0, 1.0, 2.0)
    assert shown["p999"] == pytest.approx(99.901)
    assert (shown["degraded"], shown["failures"], whole.seconds) == (3, {"reset": 2, "timeout": 3}, 5.0)


def test_both_schedules_keep_the_rate() -> None:
    even, random = evenly(200, 50.0), at_random(200, 50.0)

    assert even[:3] == [0.0, 0.005, 0.01]
    assert len(even) == len(random) == 10_000
    assert random == sorted(random)
    assert random[-1] == pytest.approx(50.0, rel=0.05)
    assert min(after - before for before, after in itertools.pairwise(random)) < 0.001


def test_each_request_is_a_transaction_of_its_own(tmp_path: Path) -> None:
    write_bodies(tmp_path / "bodies", [payment(0, 1), payment(0, 2)], 5)

    sent = [msgspec.json.decode(line) for line in (tmp_path / "bodies").read_bytes().splitlines()]

    assert len({one["transaction_id"] for one in sent}) == 5
    assert [one["transaction_id"].split("-")[0] for one in sent] == ["t1", "t2", "t1", "t2", "t1"]
