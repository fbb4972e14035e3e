"""The command line does what README says, and says what is wrong in one line."""

import re
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
    """An API that is down is a finding of the run: a tolerance that is broken, and named."""
    simulator("history", "--days", "1", "--rate", "300", "--accounts", "500", "--until", "2026-11-01")

    code, output = simulator(
        "run",
        "card-testing",
        "--rate",
        "40",
        "--duration",
        "1",
        "--realtime",
        "--target",
        "api",
        "--api-url",
        f"http://127.0.0.1:{free_port}",
    )

    assert code == 1, output
    assert "refused" in output and re.search(r"unanswered +at most 0.01 +1 +broken", output)
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
        (("run", "card-testing", "--level", "0.5"), "It is for drift"),
        (("run", "drift", "--level", "2"), "--level"),
        (("run", "drift", "--weight", "drift=1"), "It is for mix"),
        (("run", "mix", "--weight", "card-testing"), "card-testing=1"),
        (("run", "mix", "--weight", "card-testing=-1"), "card-testing=1"),
        (("run", "mix", "--weight", "nonsense=1"), "UnknownScenario"),
        (("run", "mix", "--weight", "mix=1"), "part of a mix"),
        (("run", "system-degradation", "--target", "api"), "make scenarios"),
        (("run", "replay"), "run --record FILE"),
        (("run", "replay", "--log", "{file}", "--target", "api"), "BadRecording"),
        (("run", "replay", "--log", "nowhere.jsonl"), "does not exist"),
        (("run", "card-testing", "--log", "{file}"), "It is for replay"),
        (("run", "replay", "--log", "{file}", "--realtime"), "hours of its own"),
        (("run", "system-degradation", "--target", "api", "--faults", "nonsense"), "http://host:port"),
        (("run", "card-testing", "--target", "api", "--api-url", "nonsense"), "http://host:port"),
        (("run", "card-testing", "--world", "nowhere.json"), "does not exist"),
        (("run", "card-testing", "--rate", "inf"), "--rate"),
        (("run", "card-testing", "--duration", "0"), "--duration"),
        (("run", "card-testing", "--results", "{folder}"), "is a directory"),
        (("run", "card-testing", "--results", "{file}/results.jsonl"), "cannot write"),
        (("history", "--until", "yesterday"), "YYYY-MM-DD"),
        (("history", "--until", "1969-07-20"), "between the years 2000 and 2099"),
        (("history", "--until", "2999-01-01"), "between the years 2000 and 2099"),
        (("history", "--seed", "-1"), "--seed"),
        (("history", "--seed", str(2**63)), "--seed"),
        (("history", "--days", "0"), "--days"),
        (("history", "--accounts", "5"), "--accounts"),
        (("history", "--out", "{file}"), "is a file"),
        (("history", "--days", "1", "--rate", "100", "--out", "{file}/lake"), "cannot write"),
        (("history", "--bogus"), "No such option"),
    ],
)
def test_a_wrong_request_ends_with_what_would_be_right(
    var_dir: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """And with nothing written."""
    file = tmp_path / "file"
    file.touch()

    code, output = simulator(*(one.format(folder=tmp_path, file=file) for one in arguments))

    assert code == 2
    assert message in " ".join(output.replace("│", " ").split())
    assert "Traceback" not in output
    assert not list(var_dir.rglob("*.parquet"))


def test_a_history_for_an_object_store_is_written_to_a_folder_first(
    var_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not to a local folder of the name `s3:`."""
    monkeypatch.setenv("FRAUD_LAKE_URI", "s3://bucket/lake")
    monkeypatch.chdir(tmp_path)

    code, output = simulator("history", "--days", "1", "--rate", "100")

    assert code == 2
    assert "copy it to s3://bucket/lake" in " ".join(output.replace("│", " ").split())
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"spec": {"seed": -1}, "tickets_sold": []}'])
def test_a_file_that_holds_no_world_says_where_one_comes_from(var_dir: Path, tmp_path: Path, content: bytes) -> None:
    world = tmp_path / "world.json"
    world.write_bytes(content)

    code, output = simulator("run", "card-testing", "--target", "api", "--world", str(world))

    assert code == 2
    assert "python -m simulator history" in " ".join(output.replace("│", " ").split())


def test_a_world_of_long_ago_has_nothing_to_sell_and_says_so(var_dir: Path) -> None:
    """Its museums close a year after its history; without events there is no price to pay."""
    simulator("history", "--days", "1", "--rate", "300", "--accounts", "500", "--until", "2020-01-01")

    code, output = simulator("run", "card-testing", "--target", "api")

    assert code == 2
    assert "ends on 2020-01-01 and has nothing to sell today" in " ".join(output.replace("│", " ").split())


def test_without_a_broker_the_command_says_what_to_do(
    var_dir: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port}")
    monkeypatch.setattr("simulator.kafka_source.LOOK_S", 0.5)

    code, output = simulator("run", "card-testing")

    assert code == 2
    assert f"no broker answers at 127.0.0.1:{free_port}" in " ".join(output.replace("│", " ").split())


def test_a_wrong_setting_is_named(var_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_TOKEN_KEY", "short")

    code, output = simulator("history", "--days", "1")

    assert code == 2
    assert "FRAUD_TOKEN_KEY" in output


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
