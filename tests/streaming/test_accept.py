"""Arrival: a function of the log before a record, whoever reads it and however often."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.core.accept import MAX_PEAKS, ArrivalClock, Peak
from streaming.core.records import Record

AT = ("transactions.v1", 3)


def record(offset: int, append_ms: int) -> Record:
    return Record(*AT, offset, append_ms, b"a1", b"{}")


def running_maximum(log: list[Record]) -> list[int]:
    return [max(one.timestamp_ms for one in log[: place + 1]) for place in range(len(log))]


# Where a reader begins, how far it goes, and whether it is a new process.
lives = st.lists(st.tuples(st.integers(0, 39), st.integers(1, 20), st.booleans()), max_size=12)
stamps = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@given(stamps, lives)
def test_arrival_is_the_running_maximum_however_often_a_partition_is_read_again(
    stamps: list[int], lives: list[tuple[int, int, bool]]
) -> None:
    """Each life begins no later than where one before it ended, and is told what that one had seen."""
    log = [record(offset, append_ms) for offset, append_ms in enumerate(stamps)]
    said, reached, marked = running_maximum(log), 0, tuple[Peak, ...]()
    clock, complete_from = ArrivalClock(), 0
    for begin, length, is_new in [*lives, (0, len(log), True)]:
        start = min(begin, reached, len(log) - 1)
        clock = ArrivalClock() if is_new else clock
        clock.restore(AT, marked, complete_from)

        found = [clock.arrival_ms(one) for one in log[start : start + length]]

        assert found == said[start : start + length]
        if start + length >= reached:
            reached, marked = min(start + length, len(log)), clock.peaks(AT)


def test_what_is_remembered_of_a_clock_that_never_steps_back_is_one_record() -> None:
    clock = ArrivalClock()
    for offset in range(1000):
        clock.arrival_ms(record(offset, 7 * offset))

    assert clock.peaks(AT) == (Peak(999, 6993),)


def test_what_is_remembered_of_a_clock_that_always_steps_back_is_bounded() -> None:
    clock = ArrivalClock()
    for offset in range(1000):
        clock.arrival_ms(record(offset, 7 * offset - 10 * (offset % 2)))

    assert len(clock.peaks(AT)) <= MAX_PEAKS + 1


def test_what_was_forgotten_is_not_told() -> None:
    """From `complete_from` on every arrival is right, and before it one is not."""
    log = [record(offset, 7 * offset - 10 * (offset % 2)) for offset in range(1000)]
    clock, again = ArrivalClock(), ArrivalClock()
    for one in log:
        clock.arrival_ms(one)
    first = clock.complete_from(AT)

    again.restore(AT, clock.peaks(AT), first)

    assert 0 < first < 1000
    assert [again.arrival_ms(one) for one in log[first:]] == running_maximum(log)[first:]
    early = ArrivalClock()
    early.restore(AT, clock.peaks(AT), first)
    assert [early.arrival_ms(one) for one in log[1:first]] != running_maximum(log)[1:first]
