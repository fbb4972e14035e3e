"""A client that sends a request when it is due, whatever became of those before; `python -m benchmarks.open_loop`, a process of its own.

Latency counts from when a request was due and not from when it was sent, so what waits behind a slow answer says so, and so does a client that
was late itself. It shares two cores with what it measures: sockets and the standard library, requests made beforehand, asleep until just before one is due.
In a closed loop (`clients`) each connection waits for its answer, and a request is due when it is sent.
"""

import contextlib
import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path

# A request without an answer counts as one that took this long, a refused one too: its caller has no decision either.
GIVE_UP_S = 5.0
# A sleep ends some 60 µs late; the last of the wait is spent looking at the clock.
AWAKE_S = 0.0001
HEAD_START_S = 0.05
# select knows 1,024 files. A scorer works on 16 requests at once, so what waits for one of these would wait there, or be refused.
MOST_WIRES = 256


@dataclass(frozen=True)
class Target:
    """Where to POST what. bodies: a file with one JSON body a line, sent in turn, again from the first after the last."""

    port: int
    path: str
    bodies: str
    credential: str = ""


@dataclass(frozen=True)
class Turn:
    """due_s: when each request is due, in seconds from the turn's begin; or so many `clients` in a closed loop for `seconds`."""

    target: str
    due_s: Sequence[float] = ()
    clients: int = 0
    seconds: float = 0.0


@dataclass
class Taken:
    """What became of a turn. latency_ms: from when it was due, in the order of answers; late_ms: how late each was sent, which is in it.

    failures: by what happened instead of an answer; they are in latency_ms as GIVE_UP_S.
    """

    latency_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    degraded: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers, not failures."""
        return (len(self.latency_ms) - sum(self.failures.values())) / self.seconds

    def note(self, due_s: float, answered_s: float, answer: bytes) -> None:
        """answer: all of it, or the word for why there is none."""
        if answer.startswith(b"HTTP/1.1 200"):
            self.latency_ms.append((answered_s - due_s) * 1e3)
            self.degraded += answer.count(b'degraded_reasons":["')
            return
        word = f"status_{answer[9:12].decode()}" if answer.startswith(b"HTTP/1.1 ") else answer.decode()
        self.failures[word] = self.failures.get(word, 0) + 1
        self.latency_ms.append(GIVE_UP_S * 1e3)


def joined(turns: Sequence[Taken]) -> Taken:
    """Several turns of one target as one."""
    whole = Taken()
    for turn in turns:
        whole.latency_ms += turn.latency_ms
        whole.late_ms += turn.late_ms
        whole.degraded += turn.degraded
        whole.seconds += turn.seconds
        for word, many in turn.failures.items():
            whole.failures[word] = whole.failures.get(word, 0) + many
    return whole


class Wires:
    """Kept connections to one port, each with one request on its way; more are opened when all wait, up to MOST_WIRES."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[socket.socket] = []
        self._heard: dict[socket.socket, bytes] = {}
        self.waiting: dict[socket.socket, float] = {}

    @property
    def are_all_waiting(self) -> bool:
        return len(self.waiting) >= MOST_WIRES

    def send(self, request: bytes, due_s: float) -> None:
        """Raises OSError."""
        wire = self._idle.pop() if self._idle else socket.create_connection(("127.0.0.1", self._port))
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            wire.sendall(request)
        except OSError:
            wire.close()
            raise
        self.waiting[wire], self._heard[wire] = due_s, b""

    def answers(self, within_s: float) -> Iterator[tuple[float, float, bytes]]:
        """(due, answered, answer or `reset`) of whatever is there, after waiting for it at most so long."""
        for wire in select.select([*self.waiting, *self._idle], [], [], within_s)[0]:
            heard = _received(wire)
            if wire not in self.waiting:  # a server ends what nobody uses
                self._idle.remove(wire)
                wire.close()
                continue
            self._heard[wire] += heard
            if not heard or is_whole(self._heard[wire]):
                yield self.waiting.pop(wire), time.perf_counter(), self._heard.pop(wire) if heard else b"reset"
                self._idle.append(wire) if heard else wire.close()

    def drop_ended(self) -> None:
        """After a pause: what the server has closed meanwhile would give a reset and no answer."""
        while select.select(self._idle, [], [], 0)[0]:
            list(self.answers(0))

    def close(self) -> None:
        """All of them."""
        for wire in (*self.waiting, *self._idle):
            wire.close()
        self.waiting.clear()
        self._idle.clear()

    def give_up(self) -> list[float]:
        """When those were due that have no answer yet; their connections are closed."""
        unanswered = list(self.waiting.values())
        for wire in self.waiting:
            del self._heard[wire]
            wire.close()
        self.waiting.clear()
        return unanswered


def _received(wire: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionError):
        return wire.recv(1 << 20)
    return b""


def is_whole(answer: bytes) -> bool:
    """Of an answer that says how long it is."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    return len(body) >= int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])


def open_loop(wires: Wires, requests: Iterator[bytes], due_s: Sequence[float]) -> Taken:
    """Each when it is due, and all their answers."""
    taken, unsent, place = Taken(), deque[float](), 0
    began_s = time.perf_counter() + HEAD_START_S
    due = [began_s + one for one in due_s]
    given_up_s = max(due, default=began_s) + GIVE_UP_S
    while place < len(due) or unsent or wires.waiting:
        now_s = time.perf_counter()
        if place < len(due) and now_s >= due[place]:
            taken.late_ms.append((now_s - due[place]) * 1e3)
            unsent.append(due[place])
            place += 1
        while unsent and not wires.are_all_waiting:
            _send(wires, next(requests), unsent.popleft(), taken)
        if now_s > given_up_s:
            for one in (*wires.give_up(), *unsent, *due[place:]):
                taken.note(one, now_s, b"timeout")
            break
        next_s = due[place] - AWAKE_S if place < len(due) else given_up_s
        for answer in wires.answers(max(0.0, next_s - time.perf_counter())):
            taken.note(*answer)
    taken.seconds = time.perf_counter() - began_s
    return taken


def _send(wires: Wires, request: bytes, due_s: float, taken: Taken) -> None:
    try:
        wires.send(request, due_s)
    except OSError:
        taken.note(due_s, due_s, b"refused")


def closed_loop(wires: Wires, requests: Iterator[bytes], clients: int, seconds: float) -> Taken:
    """Raises OSError where an open loop would count a refused connection: there is no rate to keep."""
    taken = Taken()
    wires.drop_ended()
    began_s = time.perf_counter()
    while time.perf_counter() < began_s + seconds:
        while len(wires.waiting) < clients:
            wires.send(next(requests), time.perf_counter())
        for answer in wires.answers(GIVE_UP_S):
            taken.note(*answer)
    taken.seconds = time.perf_counter() - began_s
    await_the_rest(wires, taken)
    return taken


def await_the_rest(wires: Wires, taken: Taken) -> None:
    """Answers after a closed loop's end are not of its seconds; that there is none is a failure all the same."""
    given_up_s = time.perf_counter() + GIVE_UP_S
    while wires.waiting and (left_s := given_up_s - time.perf_counter()) > 0:
        list(wires.answers(left_s))
    for due in wires.give_up():
        taken.note(due, due, b"timeout")


def made(target: Target) -> list[bytes]:
    """Its requests, whole."""
    who = f"Authorization: Bearer {target.credential}\r\n" if target.credential else ""
    head = f"POST {target.path} HTTP/1.1\r\nHost: x\r\n{who}Content-Type: application/json\r\nContent-Length: "
    bodies = Path(target.bodies).read_bytes().splitlines()
    return [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]


def run(targets: dict[str, Target], turns: list[Turn]) -> Iterator[Taken]:
    """One turn after another, over connections that are kept between them."""
    wires = {target.port: Wires(target.port) for target in targets.values()}
    requests = {name: cycle(made(target)) for name, target in targets.items()}
    gc.freeze()
    gc.disable()  # a pause of ours would be everybody's latency
    for turn in turns:
        through, what = wires[targets[turn.target].port], requests[turn.target]
        if turn.clients:
            yield closed_loop(through, what, turn.clients, turn.seconds)
        else:
            yield open_loop(through, what, turn.due_s)
    for one in wires.values():
        one.close()


def measured(targets: dict[str, Target], turns: Sequence[Turn]) -> list[Taken]:
    """The same, in a process of its own. Raises CalledProcessError."""
    job = {"targets": {name: asdict(one) for name, one in targets.items()}, "turns": [asdict(one) for one in turns]}
    command = [sys.executable, "-m", "benchmarks.open_loop"]
    done = subprocess.run(command, input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=True)
    return [Taken(**json.loads(line)) for line in done.stdout.splitlines()]


def main() -> None:
    job = json.load(sys.stdin)
    targets = {name: Target(**one) for name, one in job["targets"].items()}
    results = [asdict(taken) for taken in run(targets, [Turn(**one) for one in job["turns"]])]
    for result in results:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
