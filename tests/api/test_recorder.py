"""The recorder beside a scorer: whatever is killed, every decision it was given is in one chain, once."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.decided import Decider, Facts, Part, Row, as_request, encode
from api.frames import cut
from api.journal import Journal, claimed
from api.metrics import Metrics
from api.producer import MAX_PENDING
from api.recorder import Stand
from api.recording import CLOSE_S, RECORDER, Beside
from api.records import DecisionRecords
from api.spool import SpoolWriter
from fraud_assets.contracts import codec
from fraud_assets.contracts.chain import Link, verify
from fraud_assets.contracts.events import Decision
from fraud_assets.stores.served import served_states, served_statuses
from tests.waiting import until

MIB = 2**20
WITHIN_S = 60.0
NOWHERE = "127.0.0.1:1"  # no broker: everything stays in the journal


def beside(folder: Path, *command: str, group: str = "account") -> Beside:
    facts = Facts("s", "sd", (group,), ("v@account",), ("PRESENT",), ("transactions.v1",), 20)
    return Beside(facts, NOWHERE, folder, 64 * MIB, Metrics(), command or RECORDER)


def decided(*numbers: int, position: bytes | None = None) -> bytes:
    """Decisions of one moment."""
    rows = []
    for place, number in enumerate(numbers):
        request = as_request({"transaction_id": f"t{number}", "account_id": "a1"})
        at_ms = 1_790_000_000_000 + number
        rows.append(
            Row(
                f"d{number}",
                at_ms,
                f"t{number}",
                "a1",
                request,
                1.5,
                0,
                0,
                [place],
                0.25,
                {},
                "approve",
                "",
                [],
                [],
                False,
            )
        )
    n = len(numbers)
    positions = [position or (3).to_bytes(8, "little") + number.to_bytes(8, "little") for number in numbers]
    headers = [[("traceparent", b"x")]]
    return encode(
        Part(rows, 1, "e", [Decider("pd", "v1", "m")], headers, ["a1"] * n, [1] * n, positions, bytes(8 * n), bytes(n))
    )


def give(to: Beside, first: int, last: int, together: int = 1) -> None:
    for number in range(first, last + 1, together):
        numbers = range(number, min(number + together, last + 1))
        to.add(decided(*numbers), len(numbers))


def recorded(folder: Path) -> list[Decision]:
    """What the next process would send; only once nobody holds the journal."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        journal = Journal.claim(folder, 64 * MIB)
        entries = list(iter(journal.next, None))
        journal.close()
        if entries:
            return [codec.decode(Decision, entry.value, max_bytes=MIB) for entry in entries]
        assert time.monotonic() < deadline, "nothing was recorded"
        time.sleep(0.05)  # the number of a live process was not ours to claim


def run(scenario: Callable[[Beside], Coroutine[Any, Any, None]], folder: Path) -> None:
    async def running() -> None:
        made = beside(folder)
        await made.start()
        await scenario(made)
        await made.close()

    asyncio.run(running())


def assert_whole(found: list[Decision], count: int) -> None:
    """All of them, in the order they were given, in one chain that nothing is missing from."""
    assert [one.decision_id for one in found] == [f"d{number}" for number in range(1, count + 1)]
    (chain,) = {one.chain_id for one in found}
    findings = verify(chain, [Link.of(one, 0, offset) for offset, one in enumerate(found)])[0]
    assert [one for one in findings if one.position >= found[0].chain_position] == []


def test_what_is_given_is_recorded_with_all_it_says(tmp_path: Path) -> None:
    async def scenario(made: Beside) -> None:
        give(made, 1, 50)

    run(scenario, tmp_path)

    found = recorded(tmp_path)
    assert_whole(found, 50)
    assert served_states(found[6])[0].position == {"transactions.v1/3": 7}
    assert (found[6].vector, found[6].features) == (bytes(8), [])
    assert served_statuses(found[6], "sd", ["v@account"]) == {"v@account": "PRESENT"}


def test_a_recorder_that_is_killed_is_replaced_and_misses_nothing(tmp_path: Path) -> None:
    """At any point: with decisions on their way to it, with some in its journal that it had no time to speak of, and none. The scorer
    has decided so much before that it would give up a recorder that had recorded nothing of it.
    """

    async def scenario(made: Beside) -> None:
        assert made._spool is not None
        made._spool.given = MAX_PENDING + 1_000
        made._stand = Stand(made._spool.given, made._stand.status)
        give(made, 0, 0)
        await until(lambda: made.unrecorded == 0, WITHIN_S)
        for turn in range(5):
            give(made, 40 * turn + 1, 40 * turn + 20, together=7)
            await asyncio.sleep(0.02 * turn)
            assert made._child is not None
            made._child.kill()
            give(made, 40 * turn + 21, 40 * turn + 40, together=7)
            await until(lambda: made.unrecorded == 0, WITHIN_S)

    run(scenario, tmp_path)

    assert_whole(recorded(tmp_path)[1:], 200)


def test_what_no_record_can_be_made_of_is_put_aside_and_holds_up_nobody(tmp_path: Path) -> None:
    async def scenario(made: Beside) -> None:
        give(made, 1, 3)
        made.add(b"no decision", 1)
        made.add(decided(4, position=bytes(15)), 1)
        give(made, 4, 6)
        await until(lambda: made.unrecorded == 0, WITHIN_S)

    run(scenario, tmp_path)

    assert_whole(recorded(tmp_path), 6)
    aside, rest = cut((tmp_path / "0" / "unrecordable").read_bytes())
    assert aside == [b"no decision", decided(4, position=bytes(15))] and not rest


def test_what_a_scorer_of_another_version_left_is_recorded_as_it_said(tmp_path: Path) -> None:
    """Its groups are its own."""
    writer = SpoolWriter(claimed(tmp_path)[0], msgspec.msgpack.encode(beside(tmp_path, group="card")._facts))
    writer.add([decided(1)])

    async def scenario(made: Beside) -> None:
        give(made, 2, 2)

    run(scenario, tmp_path)

    found = recorded(tmp_path)
    assert_whole(found, 2)
    assert [served_states(one)[0].group for one in found] == ["card", "account"]


def of_layout(layout: int, number: int) -> bytes:
    """The same decision as a scorer of before handed it over: alone, and in layout 1 with an object for its request that alone has its names."""
    request = {"transaction_id": f"t{number}", "event_time_ms": 1_790_000_000_000 + number, "account_id": "a1"}
    named = [1_790_000_000_000 + number, f"t{number}", "a1", as_request(request)] if layout > 1 else [request]
    position = (3).to_bytes(8, "little") + number.to_bytes(8, "little")
    frame: list[object] = [
        f"d{number}", *named, 1, 1.5, "e", "pd", "v1", "m", bytes(8), b"\0", ["a1"], [1], [position], 0.25, "approve", [], [], False,
        [("traceparent", b"x")],
    ]  # fmt: skip
    return msgspec.msgpack.encode([*frame, {"v2": 0.5}, {"v1": 0.1}, "deny"] if layout == 3 else frame)


def test_what_scorers_of_layouts_before_left_is_recorded_and_of_one_to_come_put_aside(tmp_path: Path) -> None:
    mine, lock = claimed(tmp_path)
    facts = beside(tmp_path)._facts
    for layout in (1, 2, 3):
        about = msgspec.msgpack.encode(msgspec.structs.replace(facts, layout=layout))
        SpoolWriter(mine, about).add([of_layout(layout, layout)])
    SpoolWriter(mine, msgspec.msgpack.encode(msgspec.structs.replace(facts, layout=99))).add([b"whatever"])
    lock.close()

    async def scenario(made: Beside) -> None:
        give(made, 4, 4)

    run(scenario, tmp_path)

    old = recorded(tmp_path)
    assert_whole(old, 4)
    for number, one in enumerate(old[:3], start=1):
        names = (1_790_000_000_000 + number, f"t{number}", "a1")
        assert (one.event_time_ms, one.transaction_id, one.account_id) == names
        assert one.request == {"account_id": "a1", "event_time_ms": names[0], "transaction_id": names[1]}
        assert served_states(one)[0].position == {"transactions.v1/3": number}
    assert [(one.shadow_scores, one.ruled) for one in old] == [({}, ""), ({}, ""), ({"v2": 0.5}, "deny"), ({}, "")]
    assert cut((mine / "unrecordable").read_bytes())[0] == [b"whatever"]


@pytest.mark.parametrize("had", [1, 3, 4])
def test_of_decisions_that_were_recorded_in_part_the_next_recorder_records_the_rest(tmp_path: Path, had: int) -> None:
    """A recorder that is killed while it writes leaves some whole records of a moment's decisions."""
    mine, lock = claimed(tmp_path)
    facts = beside(tmp_path)._facts
    SpoolWriter(mine, msgspec.msgpack.encode(facts)).add([decided(1, 2, 3, 4), decided(5, 6)])
    journal = Journal(mine, 64 * MIB, lock)
    records = DecisionRecords(facts)
    journal.append(records.of(records.decode(decided(1, 2, 3, 4)), 0)[:had])
    journal.close()

    async def scenario(made: Beside) -> None:
        give(made, 7, 7)

    run(scenario, tmp_path)

    assert_whole(recorded(tmp_path), 7)


GIVES_AND_DIES = """
import asyncio, os, signal, sys, time
from pathlib import Path
from tests.api.test_recorder import beside, give
async def main():
    made = beside(Path(sys.argv[1]))
    await made.start()
    for first in range(1, 3_000, 100):
        give(made, first, first + 99, together=32)
    time.sleep(float(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


@pytest.mark.parametrize("hung_s", [0.0, 0.5])
def test_a_scorer_that_is_killed_has_lost_nothing_it_gave(tmp_path: Path, hung_s: float) -> None:
    """Not even what it gave in the moment before it died, whether it heard what its recorder said or hung; and nobody stops the recorder."""
    died = subprocess.run(
        [sys.executable, "-c", GIVES_AND_DIES, str(tmp_path), str(hung_s)], check=False, timeout=WITHIN_S
    )

    assert died.returncode == -signal.SIGKILL
    assert_whole(recorded(tmp_path), 3_000)


def test_a_group_told_to_stop_records_until_its_scorer_says_so(tmp_path: Path) -> None:
    """A terminal's ^C and a supervisor's stop go to the recorder too."""

    async def scenario(made: Beside) -> None:
        assert made._child is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(made._child.pid, number)
        give(made, 1, 20)
        await until(lambda: made.unrecorded == 0, WITHIN_S)

    run(scenario, tmp_path)

    assert_whole(recorded(tmp_path), 20)


def test_a_recorder_that_does_not_start_stops_its_scorers_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        asyncio.run(beside(tmp_path, sys.executable, "-c", "raise SystemExit('nothing to write to')").start())


def test_what_a_scorer_and_its_recorder_left_the_next_ones_record(tmp_path: Path) -> None:
    """Both killed at once, with half of it in the journal."""

    async def first(made: Beside) -> None:
        give(made, 1, 20)
        await until(lambda: made.unrecorded == 0, WITHIN_S)
        assert made._child is not None and made._task is not None
        made._task.cancel()
        made._child.kill()
        give(made, 21, 40)

    async def second(made: Beside) -> None:
        give(made, 41, 60)

    run(first, tmp_path)
    run(second, tmp_path)

    assert_whole(recorded(tmp_path), 60)
    assert not list(tmp_path.rglob("*.in"))


def test_a_scorer_told_to_stop_leaves_its_recorder_no_more_than_its_time_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a minute: the kill that follows a stop would come first. What its recorder has not recorded the next one does."""
    monkeypatch.setattr("api.recording.CLOSE_S", 0.2)
    killed: list[int] = []

    async def hung(made: Beside) -> None:
        give(made, 1, 20)
        await until(lambda: made.unrecorded == 0, WITHIN_S)
        assert made._child is not None
        made._child.send_signal(signal.SIGSTOP)
        give(made, 21, 40)
        child = made._child
        await made.close()
        killed.append(child.returncode)

    async def next_one(made: Beside) -> None:
        give(made, 41, 60)

    run(hung, tmp_path)
    monkeypatch.undo()
    run(next_one, tmp_path)

    assert killed == [-signal.SIGKILL]
    assert_whole(recorded(tmp_path), 60)


def test_the_time_to_stop_in_is_less_than_a_container_has() -> None:
    assert CLOSE_S < 10
