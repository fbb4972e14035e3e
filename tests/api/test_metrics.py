"""What Prometheus sees of the scorer."""

import time_machine
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from api.metrics import BUCKETS, Distribution


@given(st.lists(st.sampled_from(BUCKETS) | st.floats(0, 10) | st.integers(0, 2)))
def test_a_distribution_says_what_the_librarys_histogram_says(values: list[float]) -> None:
    """To the last byte, values on a bound included."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    with time_machine.travel("2026-11-28T01:02:03Z", tick=False):
        histogram = Histogram("seconds", "Of some kind.", buckets=BUCKETS, registry=theirs)
        distribution = Distribution("seconds", "Of some kind.", BUCKETS, ours)

    for value in values:
        histogram.observe(value)
        distribution.observe(value)

    assert generate_latest(ours) == generate_latest(theirs)
