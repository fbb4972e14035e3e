"""The command line does what README says, and says what is wrong in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.cli import app

FORBIDDEN = ("polars", "duckdb", "mlflow", "dagster", "pandas")


def simulator(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_history_writes_the_settings_lake_and_the_truth_beside_it(var_dir: Path) -> None:
    code, output = simulator("history", "--days", "1", "--rate", "300", "--seed", "4", "--until", "2026-11-01")

    assert code == 0, output
    assert (var_dir / "lake" / "transactions" / "event_date=2026-10-31" / "history.parquet").exists()
    assert (var_dir / "truth" / "transactions.parquet").exists()
    assert (var_dir / "truth" / "world.json").exists()


def test_run_against_nobody_still_writes_results_and_report(var_dir: Path, free_port: int) -> None:
    """An API that is down is a finding of the run, not a crash of it."""
    simulator("history", "--days", "1", "--rate", "300", "--accounts", "500", "--until", "2026-11-01")

    code, output = simulator(
        "run",
        "card-testing",
        "--rate",
        "40",
        "--duration",
        "1",
        "--target",
        "api",
        "--api-url",
        f"http://127.0.0.1:{free_port}",
    )

    assert code == 0, output
    assert "refused" in output
    assert (var_dir / "simulator" / "card-testing-7.jsonl").exists()
    assert (var_dir / "simulator" / "card-testing-7.html").exists()


def test_list_names_every_scenario() -> None:
    code, output = simulator("list")

    assert code == 0
    assert "normal-traffic" in output and "card-testing" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nonsense"), "UnknownScenario"),
        (("run", "card-testing", "--target", "carrier-pigeon"), "BadTarget"),
        (("history", "--until", "yesterday"), "YYYY-MM-DD"),
    ],
)
def test_a_wrong_request_ends_with_what_would_be_right(var_dir: Path, arguments: tuple[str, ...], message: str) -> None:
    code, output = simulator(*arguments)

    assert code == 2
    assert message in output


def test_the_simulator_process_loads_nothing_heavy(var_dir: Path) -> None:
    """After a whole history: no Polars, DuckDB, MLflow, Dagster or pandas, not even through Arrow."""
    program = (
        "import atexit, runpy, sys\n"
        f"atexit.register(lambda: print([name for name in {FORBIDDEN!r} if sys.modules.get(name)]))\n"
        "sys.argv = ['simulator', 'history', '--days', '1', '--rate', '200', '--accounts', '500']\n"
        "runpy.run_module('simulator', run_name='__main__')\n"
    )

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (var_dir / "lake" / "transactions").is_dir()
    assert found.stdout.splitlines()[-1] == "[]"
