"""`make bench`: what it runs."""

import re
from pathlib import Path

import pytest

from benchmarks.__main__ import known, main


def test_make_bench_runs_what_reports_a_figure_and_nothing_else(root: Path) -> None:
    """A client, a rig or a peer started as a benchmark would wait for its input, or fail."""
    imports = re.compile(r"^from benchmarks\.measure import .*\breport\b", re.MULTILINE)
    reporting = [path.stem for path in (root / "benchmarks").glob("*.py") if imports.search(path.read_text())]

    own_line = {"simulator_history"}
    assert set(known()) == {*reporting, *own_line}
    assert "api_open_loop" in known()


def test_a_part_that_does_not_exist_is_answered_with_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("no.such") == 2
    assert "api_open_loop" in capsys.readouterr().err
