"""The short form of `make scenarios`: one scenario from its command to its verdict, with its proxies and its broker, and a scorer that guesses."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.ports import LOOPBACK, held_ports
from deploy.local.scenarios_run import FAULT_PORTS, FAULTS
from deploy.local.services import BROKER, PROXY_PORT, VALKEY
from deploy.local.stack import running
from simulator.results import read_result
from simulator.scenarios.registry import SCENARIOS

SCENARIO = SCENARIOS["system-degradation"]
PATIENCE_S = 120


@contextmanager
def guessing_scorer() -> Iterator[str]:
    """Its address."""
    argv = [sys.executable, "-m", "tests.simulator.fake_api"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_scenario_breaks_what_it_says_loses_nothing_and_is_judged(tmp_path: Path) -> None:
    """What the run itself publishes goes through the broker's proxy: it is late while that is broken, and all there in the end."""
    whole, report = tmp_path / "whole.json", tmp_path / "report.html"
    with held_ports(len(FAULT_PORTS)) as held:
        ports = dict(zip(FAULT_PORTS, map(str, held), strict=True))
        with running([VALKEY, BROKER, FAULTS], tmp_path, ports) as stack, guessing_scorer() as api_url:
            ended = subprocess.run(
                [
                    *(sys.executable, "-m", "simulator", "run", SCENARIO.name, "--rate", "30", "--duration", "5"),
                    *("--api-url", api_url, "--faults", stack.env["FAULTS_URL"]),
                    *("--whole", str(whole), "--report", str(report)),
                ],
                env={**os.environ, **stack.env, "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{ports[PROXY_PORT]}"},
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
            )

    result = read_result(whole)
    assert [(one.dependency, one.fault) for one in result.outages] == [
        (one.dependency, one.fault) for one in SCENARIO.outages
    ]
    assert all(row.was_decided for row in result.purchases)
    assert result.delivery_failures == 0
    assert result.published["transactions.v1"] == len(result.purchases)
    # Who guesses reads no store, so a store that is broken degrades nothing; that the tolerance asks for it is what the verdict says.
    assert ended.returncode == 1
    broken = {line.split()[0] for line in ended.stdout.splitlines() if line.rstrip().endswith("broken")}
    assert "degraded" in broken and not broken & {"unanswered", "errors_5xx"}
    assert "store refused" in report.read_text()
