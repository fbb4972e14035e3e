"""`python -m deploy.local.scenarios`: which scenarios it runs, and what it makes of them."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from deploy.local.scenarios import main
from deploy.local.scenarios_run import Done, Outcomes, everybody
from simulator.report import Skew
from simulator.results import RunResult
from simulator.scenarios.registry import SCENARIOS
from simulator.scenarios.tolerances import Tolerance
from tests.simulator.test_report import MIXED, run

CLEAN = Skew(checked=9, mismatches=0, stale_reads=0, pending=0)
EVERY = {one.transaction_id for one in MIXED}


def done(tmp_path: Path, *tolerances: Tolerance, drift_found: float | None = None) -> Done:
    result: RunResult = msgspec.structs.replace(run(MIXED), tolerances=list(tolerances))
    return Done("card-testing", tmp_path / "card-testing.json", result, drift_found)


def test_all_are_run_but_the_drift_demos_own_and_those_that_move_the_world_last() -> None:
    assert set(everybody()) == set(SCENARIOS) - {"ghost-events"}
    assert everybody()[-1] == "drift"
    assert everybody().index("card-testing") < everybody().index("replay")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["ghost-events"], "make drift-demo"),
        (["blak-friday"], "black-friday"),
        (["replay"], "name that before it"),
        (["replay", "card-testing"], "name that before it"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(names: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.local.scenarios", "--only", *names, "--var", str(tmp_path / "var")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert ended.returncode == 2 and said in ended.stderr
    assert not (tmp_path / "var").exists()


def test_a_broker_of_somebody_elses_is_not_broken_and_that_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(sys, "argv", ["scenarios", "--var", str(tmp_path / "var")])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert "system-degradation breaks the broker" in capsys.readouterr().err
    assert not (tmp_path / "var").exists()


def test_a_scenario_passes_if_everything_is_kept(tmp_path: Path) -> None:
    outcome = done(tmp_path, Tolerance("recall", at_least=0.6), Tolerance("skew_mismatches", at_most=0)).outcome(
        CLEAN, EVERY
    )

    assert (outcome.passed, outcome.broken) == (True, [])
    assert (tmp_path / "card-testing.html").as_uri() == outcome.report
    assert Outcomes([outcome]).problems() == []


def test_what_is_broken_is_named_with_its_figure(tmp_path: Path) -> None:
    skew = Skew(checked=9, mismatches=2, stale_reads=0, pending=0)

    outcome = done(tmp_path, Tolerance("recall", at_least=0.9), Tolerance("skew_mismatches", at_most=0)).outcome(
        skew, EVERY
    )

    assert outcome.broken == ["recall 0.6667, has to be at least 0.9", "skew_mismatches 2, has to be at most 0"]
    assert Outcomes([outcome]).problems() == [f"card-testing: {', '.join(outcome.broken)}"]


def test_a_decision_that_the_lake_lacks_is_lost_and_one_that_was_never_made_is_not(tmp_path: Path) -> None:
    undecided = {one.transaction_id for one in MIXED if one.decision == "none"}
    wanted = done(tmp_path, Tolerance("decisions_lost", at_most=0))

    assert wanted.outcome(CLEAN, EVERY - undecided).passed
    assert wanted.outcome(CLEAN, EVERY - {"txn_0", "txn_3"}).broken == ["decisions_lost 2, has to be at most 0"]


def test_what_nobody_measured_is_not_kept(tmp_path: Path) -> None:
    """Here everything can be measured; a scenario that passed for want of a figure would pass always."""
    wanted = Tolerance("drift_found", at_least=1)

    assert done(tmp_path, wanted).outcome(CLEAN, EVERY).broken == ["drift_found unmeasured, has to be at least 1"]
    assert done(tmp_path, wanted, drift_found=1.0).outcome(CLEAN, EVERY).passed
