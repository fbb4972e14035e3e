"""Proofs that are tests of another suite: run as they are, in a process of their own, and counted."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.local.kafka import KAFKA
from tests.chaos.brokers import own_broker
from tests.chaos.proof import Outcome, Scale

ROOT = Path(__file__).resolve().parents[2]
MOST_S = 3_600


def _run(tests: list[str], *options: str) -> Outcome:
    """Held if every test passed, and there was one: what was skipped or deselected has not been shown."""
    command = [sys.executable, "-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", *options, *tests]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=MOST_S, check=False
    )
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error|skipped)", last)}
    told = [line for line in done.stdout.splitlines() if line.startswith("capacity ")]
    figure: dict[str, Any] = {"tests": counts.get("passed", 0), **({"told": told[0]} if told else {})}
    if done.returncode:
        figure["failed"] = last
    return Outcome(done.returncode == 0 and figure["tests"] >= len(tests) and "skipped" not in counts, figure)


def any_arrival_order(scale: Scale) -> Outcome:
    """Events shuffled, repeated and spread over other partitions fold to the same state; the long form tries ten times as many."""
    # A test may take half an hour then, and the limit of one is three minutes.
    options = ["--hypothesis-profile=long", f"--timeout={MOST_S}"] if scale.is_long else []
    return _run(["tests/parity/test_at_rest.py", "tests/streaming/test_dedupe.py"], *options)


def mixed_versions(_: Scale) -> Outcome:
    """Producers and workers of neighbouring versions on one log."""
    of_kafka = ["-m", "kafka"] if own_broker() is KAFKA else []
    return _run(["tests/streaming/test_mixed_versions.py"], "--timeout=600", *of_kafka)


def overload(scale: Scale) -> Outcome:
    """An open loop at three times the measured capacity. The test holds it against the same run's calm, the proof against a bound."""
    passed, figure = _run(["tests/api/test_load.py::test_three_times_what_it_can_do"])
    admitted = re.search(r"admitted_p99_ms (\d+)", figure.get("told", ""))
    return Outcome(passed and admitted is not None and int(admitted[1]) <= scale.p99_ms, figure)


def retries(_: Scale) -> Outcome:
    """A hundred retries of one key at once, over two processes."""
    return _run(["tests/api/test_idempotency.py::test_a_hundred_at_once_over_two_processes_are_one_decision"])
