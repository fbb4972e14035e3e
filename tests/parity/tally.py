"""Counts what the parity suite compared and says so at the end of the run.

A pytest plugin, so that the counts of parallel workers reach the process that prints them: each
test's counts travel in its report.
"""

from collections import Counter

import pytest
from hypothesis import settings

_now: Counter[str] = Counter()
_all: Counter[str] = Counter()

LONG = 10  # times the examples of a short run


def count(what: str, how_many: int = 1) -> None:
    """Note that `how_many` comparisons came out equal; a difference raises instead."""
    _now[what] += how_many


def examples(short: int) -> settings:
    """Settings of one property: `short` examples, or LONG times as many with --hypothesis-profile=long."""
    factor = LONG if settings.get_current_profile_name() == "long" else 1
    return settings(max_examples=short * factor)


def pytest_runtest_setup() -> None:
    _now.clear()


def pytest_runtest_teardown(item: pytest.Item) -> None:
    item.user_properties.extend((f"parity:{name}", number) for name, number in _now.items())
    _now.clear()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        for name, number in report.user_properties:
            if name.startswith("parity:"):
                _all[name.removeprefix("parity:")] += int(str(number))
        _all["differences"] += 0
    elif report.when == "call" and report.failed and "tests/parity/" in report.nodeid:
        _all["differences"] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    compared = {name: number for name, number in _all.items() if name != "differences"}
    if compared:
        said = ", ".join(f"{number:,} {name}" for name, number in sorted(compared.items()))
        terminalreporter.write_line(f"parity: {said} compared, {_all['differences']} differences")
