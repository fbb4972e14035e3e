"""Proofs about two workers that share their partitions: one paused past its session, one that comes and goes."""

import os
import re
import signal

from streaming import folder, router
from streaming.edges.broker import SESSION_TIMEOUT_MS
from streaming.settings import WorkerSettings
from streaming.supervise import ROLES
from tests.chaos.probes import Probes, unlike_sent
from tests.chaos.proof import Outcome, Scale
from tests.chaos.stream import Line, line
from tests.streaming.live import ENTITY, RAW, Worker, wait_for
from tests.streaming.world import caught_up

# --------------------------------------------------------------------------------------- R2

# Where an owner is caught with something in hand: what it does next is what its successor has done long ago.
CAUGHT = [
    [("folder", "states read"), ("labels", "cases written")],
    [("folder", "states written"), ("labels", "facts delivered")],
]
CAUGHT_IN_A_FILE = [[("folder", "states read"), ("router", "hidden file written")]]
TAKEN_OVER_WITHIN_S = 120.0


def paused(scale: Scale) -> Outcome:
    """An owner stopped in the middle of a step, past its session, wakes beside the successor: no state goes back, nothing twice."""
    return _paused(scale, CAUGHT)


def paused_in_a_file(scale: Scale) -> Outcome:
    """The same, with a router that had a file of the lake in hand."""
    return _paused(scale, CAUGHT_IN_A_FILE)


def _paused(scale: Scale, places: list[list[tuple[str, str]]]) -> Outcome:
    with line() as made, made.another("worker-1"):
        made.worker.start()
        probes = Probes(made.world.log, made.env["REDIS_URL"], rate=40)
        with probes.running():
            wait_for(lambda: made.workers() == 2, "both workers are in the group of folders")
            for turn in range(scale.pauses):
                _pause(made, places[turn % len(places)])
            wait_for(lambda: probes.oldest_s() < 1.0, "the woken owner works beside the other")
        wait_for(lambda: caught_up(made.world), "all is folded", within_s=TAKEN_OVER_WITHIN_S)
        lost, twice = unlike_sent(made.lake.scan("transactions")["transaction_id"].to_pylist(), probes.sent)
        states = 0 if lost else made.states_equal_to_batch()  # what the lake lacks is no measure
        refused = _conflicts(made.worker)
        stopped = len(made.struck())
        made.worker.stop()
    figure = {
        "paused": stopped, "payments": probes.sent, "looks": probes.looks, "regressions": probes.regressions,
        "refused_writes": refused, "lost": lost, "duplicated": twice, "states": states,
    }  # fmt: skip
    whole = probes.regressions == lost == twice == 0 and states > 0 and probes.looks > 0
    # Nothing refused is no pause that mattered: what was read before it must have been stale after it.
    return Outcome(whole and refused > 0 and stopped == 2 * scale.pauses, figure)


def _pause(made: Line, caught: list[tuple[str, str]]) -> None:
    """SIGSTOP roles of the first worker after a step each, until the second has gone past all they had; then let them go on."""
    for role, step in caught:
        made.strike(role, step, blow=signal.SIGSTOP)
    stopped = made.worker.children()
    try:
        ends = {**made.world.log.ends(RAW), **made.world.log.ends(ENTITY)}
        wait_for(lambda: _is_past(made, ends), "the successor is past them", within_s=TAKEN_OVER_WITHIN_S)
    finally:
        for role, _ in caught:
            stopped[role].send_signal(signal.SIGCONT)
    wait_for(lambda: made.workers() == 2, "the woken owner is back in the group", within_s=TAKEN_OVER_WITHIN_S)


def _is_past(made: Line, ends: dict[tuple[str, int], int]) -> bool:
    entity = {at: end for at, end in ends.items() if at[0] in ENTITY}
    raw = {at: end for at, end in ends.items() if at[0] in RAW}
    groups = ((f"{folder.GROUP}.{made.world.epoch}", entity), (router.GROUP, raw))
    for group, wanted in groups:
        found = made.world.log.committed(group, list(wanted))
        if any(found[at] < end for at, end in wanted.items()):
            return False
    return True


def _conflicts(worker: Worker) -> int:
    """Writes of its folder that lost against another's. By pattern: three processes share the log, and may share a line."""
    return sum(map(int, re.findall(r'"conflicts": (\d+)', worker.log.read_text())))


# --------------------------------------------------------------------------------------- R7

JOIN_S = RESTART_S = LEAVE_S = 3.0
DEATH_S = SESSION_TIMEOUT_MS / 1_000 + 3.0


def comes_and_goes(scale: Scale) -> Outcome:
    """A second and a third worker join, one starts anew, one leaves and one is killed, again and again under load: nothing lost or twice,
    and no payment waits long. With the lake's cadence as users have it: what is not in it yet is read again.
    """
    gaps: dict[str, list[float]] = {"join": [], "restart": [], "leave": [], "death": []}
    loads: list[float] = []
    with line(FRAUD_LAKE_FLUSH_S=str(WorkerSettings.model_fields["lake_flush_s"].default)) as made:
        made.worker.start()
        others, probes = (
            [made.another(f"worker-{n}") for n in (1, 2)],
            Probes(made.world.log, made.env["REDIS_URL"], scale.rate),
        )
        with probes.running():
            wait_for(lambda: probes.looks > 0 and probes.sent > 100 and probes.oldest_s() < 1.0, "payments are folded")
            for turn in range(scale.changes):
                loads.append(os.getloadavg()[0])
                _change(made, probes, others, gaps, ends_planned=turn % 2 == 1)
                loads.append(os.getloadavg()[0])
        wait_for(lambda: caught_up(made.world), "all is folded")
        states = made.states_equal_to_batch()
        lost, twice = unlike_sent(made.lake.scan("transactions")["transaction_id"].to_pylist(), probes.sent)
        made.worker.stop()
        revoke_s = max(map(_longest_revoke_s, (made.worker, *others)))
    figure = {
        "load": [round(min(loads)), round(max(loads))], "cores": os.cpu_count(), "longest_revoke_s": round(revoke_s, 1),
        "changes": sum(map(len, gaps.values())), "most_workers": 1 + len(others), "payments": probes.sent, "lost": lost,
        "duplicated": twice, "states": states, "regressions": probes.regressions,
        "longest_wait_s": {name: round(max(waits, default=0.0), 1) for name, waits in gaps.items()},
    }  # fmt: skip
    bounds = {"join": JOIN_S, "restart": RESTART_S, "leave": LEAVE_S, "death": DEATH_S}
    in_time = all(wait <= bounds[name] * scale.slack for name, waits in gaps.items() for wait in waits)
    return Outcome(lost == twice == probes.regressions == 0 and states > 0 and in_time, figure)


def _longest_revoke_s(worker: Worker) -> float:
    """What a group waited for the slowest of this worker's members. By pattern, as above."""
    told = re.findall(r'"latency_ms": ([\d.]+), "event": "partitions_revoked"', worker.log.read_text())
    return max(map(float, told), default=0.0) / 1_000


def _change(
    made: Line, probes: Probes, others: list[Worker], gaps: dict[str, list[float]], *, ends_planned: bool
) -> None:
    """One worker, two, three, one of them anew, two, and one again."""

    def settled(name: str, members: int) -> None:
        wait_for(lambda: made.workers() == members, f"{name}: {members} in the group")
        wait_for(lambda: probes.oldest_s() < 0.5, f"{name}: payments are folded again")
        gaps[name].append(probes.gap_s())

    second, third = others
    probes.gap_s()
    second.start()
    settled("join", 2)
    third.start()
    settled("join", 3)
    assert second.stop() == 0
    second.start()
    wait_for(lambda: set(ROLES) <= set(second.children()), "it runs again")
    settled("restart", 3)
    assert third.stop() == 0
    settled("leave", 2)
    if ends_planned:
        assert second.stop() == 0
        settled("leave", 1)
    else:
        second.kill()
        settled("death", 1)
