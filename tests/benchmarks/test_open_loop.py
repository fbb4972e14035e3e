"""The client of the benchmarks: it sends when a request is due, and counts from then."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from benchmarks import open_loop
from benchmarks.api_open_loop import at_random, evenly, told
from benchmarks.api_vs_empty import payment
from benchmarks.open_loop import GIVE_UP_S, Taken, Target, Turn, Wires, is_whole, joined, measured
from benchmarks.payments import write_bodies
from deploy.local.ports import LOOPBACK
from tests.benchmarks.shop import WITHIN_S, opened

REQUEST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


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


def answering_after(event: threading.Event) -> Callable[[int], int]:
    """200 to everybody, once it has come."""

    def answer(_: int) -> int:
        event.wait(WITHIN_S)
        return 200

    return answer


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "GIVE_UP_S", 0.2)
    done = threading.Event()

    with opened(answering_after(done)) as shop:
        taken = load(shop.port, [0.0, 0.01])
        done.set()

    assert (taken.failures, taken.latency_ms) == ({"timeout": 2}, [200.0, 200.0])


def test_what_waits_for_a_connection_is_counted_from_when_it_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled server would have us open more of them than a process may; the wait is its, and not the client's lateness."""
    monkeypatch.setattr(open_loop, "MOST_WIRES", 2)
    stalled = threading.Event()

    with opened(answering_after(stalled)) as shop:
        threading.Timer(0.5, stalled.set).start()
        taken = load(shop.port, evenly(100, 0.2))

    assert (taken.failures, len(taken.latency_ms), shop.connections) == ({}, 20, 2)
    assert min(taken.latency_ms) > 100  # the last was due 300 ms before the stall's end, but for a slow start
    assert max(taken.late_ms) < 300


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
        taken = open_loop.closed_loop(Wires(shop.port), itertools.repeat(REQUEST), 3, 0.2)

    assert shop.most_at_once == shop.connections == 3
    assert len(taken.latency_ms) > 3
    assert taken.seconds >= 0.2


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server whose every move is the test's."""
    with socket.create_server((LOOPBACK, 0)) as made:
        made.settimeout(WITHIN_S)
        yield made


def heard(listener: socket.socket) -> socket.socket:
    """A new connection that has sent its request."""
    wire, _ = listener.accept()
    wire.settimeout(WITHIN_S)
    assert wire.recv(1 << 16).endswith(b"\r\n\r\n")
    return wire


@pytest.mark.parametrize("closed", [True, False])
def test_a_connection_that_the_server_ended_in_a_pause_is_no_failure(listener: socket.socket, closed: bool) -> None:
    """A server closes what nobody uses for some seconds, and the peers take turns."""
    wires, request = Wires(listener.getsockname()[1]), itertools.repeat(REQUEST)
    wires.send(REQUEST, 0.0)
    first = heard(listener)
    first.sendall(ANSWER)
    assert len(list(wires.answers(WITHIN_S))) == 1
    first.close()

    def answer_until_the_client_is_gone() -> None:
        wire = heard(listener)
        wire.sendall(ANSWER)
        while wire.recv(1 << 16):
            wire.sendall(ANSWER)

    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answer_until_the_client_is_gone)
        taken = open_loop.closed_loop(wires, request, 1, 0.05) if closed else open_loop.open_loop(wires, request, [0.0])
        wires.close()
        answering.result(WITHIN_S)

    assert taken.failures == {}
    assert len(taken.latency_ms) >= 1


def test_the_last_answers_of_a_closed_loop_are_waited_for(listener: socket.socket) -> None:
    """Also when an idle connection ends first, which is no answer."""
    wires, taken = Wires(listener.getsockname()[1]), Taken()
    for _ in range(2):
        wires.send(REQUEST, 0.0)
    idle, late = heard(listener), heard(listener)
    idle.sendall(ANSWER)
    assert len(list(wires.answers(WITHIN_S))) == 1

    def end_one_and_then_answer() -> None:
        idle.shutdown(socket.SHUT_WR)
        assert idle.recv(1) == b""  # the client has seen it
        late.sendall(ANSWER)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(end_one_and_then_answer)
        open_loop.await_the_rest(wires, taken)
        done.result(WITHIN_S)

    assert (taken.failures, wires.waiting) == ({}, {})


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
