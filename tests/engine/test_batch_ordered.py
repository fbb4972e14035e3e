"""Where windows begin, for keys in order, against the sentence that defines it."""

import numpy as np
import numpy.typing as npt
from hypothesis import example, given
from hypothesis import strategies as st

from fraud_assets.engine.batch_ordered import places_in_order

Ints = npt.NDArray[np.int64]
# Of one key: times of its events, and for each read how many are known more than before, and the floor of each of two windows.
Key = tuple[list[int], list[tuple[int, int, int]]]

keys = st.lists(
    st.tuples(
        st.lists(st.integers(-9, 9), max_size=8).map(sorted),
        st.lists(st.tuples(st.integers(0, 4), st.integers(-12, 12), st.integers(-12, 12)), max_size=6),
    ),
    min_size=1,
    max_size=5,
)


def placed(keys: list[Key]) -> tuple[Ints, Ints]:
    """(found, expected), each (2, n_reads)."""
    reads, events, ev_time, applied = [0], [0], list[int](), list[int]()
    floors: list[list[int]] = [[], []]
    expected: list[list[int]] = [[], []]
    for times, asked in keys:
        first, known = len(ev_time), 0
        ev_time += times
        of_windows = [sorted(floor for *_, floor in asked), sorted(floor for _, floor, _ in asked)]
        for place, (more, *_) in enumerate(asked):
            known = min(known + more, len(times))
            applied.append(first + known)
            for window in (0, 1):
                floor = of_windows[window][place]
                floors[window].append(floor)
                expected[window].append(first + sum(time < floor for time in times[:known]))
        reads.append(len(applied))
        events.append(len(ev_time))
    low = np.array(floors, np.int64).reshape(2, -1)
    places_in_order(
        np.array(reads, np.int64), np.array(events, np.int64), np.array(ev_time or [0], np.int64),
        np.array(applied, np.int64), np.empty(2, np.int64), low, 0,
    )  # fmt: skip
    return low, np.array(expected, np.int64).reshape(2, -1)


@given(keys)
@example([([9], [(1, 5, 5)]), ([0], [])])  # the next key's event is before a floor that the key's own is not
@example([([5], [(1, 9, 5)]), ([], [(0, 1, 1)])])
def test_a_window_begins_with_the_first_known_event_that_is_not_before_its_floor(keys: list[Key]) -> None:
    """Where none is, with the next one that will be known."""
    found, expected = placed(keys)

    assert found.tolist() == expected.tolist()
