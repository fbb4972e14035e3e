"""What Prometheus sees of the scorer."""

import re
from pathlib import Path

import time_machine
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from api.metrics import BUCKETS, Distribution

seconds = st.sampled_from(BUCKETS) | st.floats(0, 10) | st.integers(0, 2)


@given(st.lists(seconds))
def test_a_distribution_says_what_the_librarys_histogram_says(values: list[float]) -> None:
    """To the last byte, values on a bound included."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    with time_machine.travel("2026-11-28T01:02:03Z", tick=False):
        histogram = Histogram("seconds", "Of some kind.", buckets=BUCKETS, registry=theirs)
        distribution = Distribution("seconds", "Of some kind.", BUCKETS, ours).of[""]

    for value in values:
        histogram.observe(value)
        distribution.observe(value)

    assert generate_latest(ours) == generate_latest(theirs)


@given(st.lists(st.tuples(st.sampled_from(["card", "batch"]), seconds)))
def test_a_distribution_with_a_label_does_too(values: list[tuple[str, float]]) -> None:
    """A series that nothing fell into is there from the start, so that a rate knows when it began."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    with time_machine.travel("2026-11-28T01:02:03Z", tick=False):
        histogram = Histogram("seconds", "Of some kind.", ["type"], buckets=BUCKETS, registry=theirs)
        distribution = Distribution("seconds", "Of some kind.", BUCKETS, ours, "type", ("card", "batch"))
        for kind in distribution.of:
            histogram.labels(kind)

    for kind, value in values:
        histogram.labels(kind).observe(value)
        distribution.of[kind].observe(value)

    assert generate_latest(ours) == generate_latest(theirs)


def test_every_reason_of_a_degraded_decision_is_in_the_docs(root: Path) -> None:
    """Whoever reads states names them, in the code, as words of this form."""
    readers = [root / "api", *(root / "fraud_assets/stores" / f"{name}.py" for name in ("online_async", "online_wire"))]
    files = [file for path in readers for file in ([path] if path.is_file() else path.glob("*.py"))]
    reasons = {word for file in files for word in re.findall(r'"(online_st(?:ore|ate)_\w+)"', file.read_text())}
    table = (root / "docs" / "scorer.md").read_text().partition("## Without history")[2].partition("\n## ")[0]

    assert len(reasons) > 4
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == reasons
