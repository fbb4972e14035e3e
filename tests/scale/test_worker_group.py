"""Four workers of one group: each has its share of the partitions, and what they make of the log is what one makes of it."""

import re

import pytest

from streaming import folder, router
from tests.chaos.stream import NOTHING_WRONG, WITHIN_S, Line, line
from tests.streaming.live import Worker, wait_for

pytestmark = [pytest.mark.scale, pytest.mark.timeout(600)]

MEMBERS = 4
EVENTS = 600


def test_four_workers_share_the_partitions_and_one_of_them_dies() -> None:
    """Real processes on a real log. A row that the dead one had in hand may be in two files, of which readers take one; nothing else is twice."""
    with line() as made:
        group = [made.worker, *(made.another(f"worker-{number}") for number in range(1, MEMBERS))]
        for worker in group:
            worker.start()
        wait_for(lambda: made.workers() == MEMBERS, f"{MEMBERS} workers are in every group", WITHIN_S)
        made.feed(EVENTS)
        made.wait_caught_up()
        shares = {name: shares_of(made, name) for name in (router.GROUP, f"{folder.GROUP}.{made.world.epoch}")}
        folded_by = [folded(worker) for worker in group]

        made.feed(EVENTS // 2)
        group[-1].kill()
        made.feed(EVENTS // 2)
        wait_for(lambda: made.workers() == MEMBERS - 1, "the others have its partitions", WITHIN_S)
        made.wait_caught_up()
        compared = made.compared()
        codes = [worker.stop() for worker in group[:-1]]

    print(f"partitions of each: {shares}; records folded by each: {folded_by}; {compared}")
    assert all(len(share) == MEMBERS and min(share) > 0 for share in shares.values())
    assert all(records > 0 for records in folded_by)
    assert [name for name in NOTHING_WRONG if compared[name] and name != "rows_in_two_files"] == []
    assert compared["states"] > 400
    assert codes == [0] * (MEMBERS - 1)


def shares_of(made: Line, group: str) -> list[int]:
    """How many partitions each member of a consumer group has."""
    [answer] = made.world.log.admin.describe_consumer_groups([group]).values()
    return sorted(len(member.assignment.topic_partitions) for member in answer.result().members)


def folded(worker: Worker) -> int:
    """Records that went into states through it. By pattern: its processes share the log, and may share a line."""
    told = re.findall(r'"n": (\d+), "applied": (\d+)', worker.log.read_text())
    return sum(int(applied) for _, applied in told)
