"""Every Dagster command of docs/operations.md runs, word for word but for its days, and does what the page says."""

import re
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus

from fraud_assets.definitions import defs
from fraud_assets.labels.imported import write_imported_facts
from tests.defs import page
from tests.defs.commands import Place, make_place
from tests.defs.daemon import daemon, finished
from tests.history import FIRST_DAY, LABEL_DELAY_DAYS, LAST_DAY, START_MS

WITHIN_S = 900  # with ten others for two cores, the backfills took 440
# Days of the page, and which of a short history's stand for them.
WHOLE = {"2026-10-24": FIRST_DAY, "2026-11-01": "2026-10-13", "2026-11-22": LAST_DAY}
BACKFILLED = {"2026-11-01": "2026-10-12", "2026-11-21": "2026-10-12", "2026-11-22": "2026-10-13"}
# The other jobs say what several days are, and every view of a day takes 20 s of a core.
ONE_DAY = {"feature_views": {"2026-11-01": "2026-10-13", "2026-11-22": "2026-10-13"}}
BEFORE_THEM_MS = START_MS + 11 * 86_400_000
NO_BROKER = "127.0.0.1:1"

pytestmark = pytest.mark.timeout(WITHIN_S + 240)


def place_of(tmp_path: Path, root: Path, redis_url: str = "") -> Place:
    """Enough payments to pass a model's gates by, and no search, which is another test's."""
    env = {"FRAUD_TUNING_TRIALS": "0", "KAFKA_BOOTSTRAP_SERVERS": NO_BROKER} | (
        {"REDIS_URL": redis_url} if redis_url else {}
    )
    return make_place(tmp_path, root, rate_per_day=400, **env)


def days_between(first: str, last: str) -> set[str]:
    start = date.fromisoformat(first)
    return {(start + timedelta(days=n)).isoformat() for n in range((date.fromisoformat(last) - start).days + 1)}


def asked(command: Sequence[str]) -> set[str]:
    """The partitions that a command names."""
    options = dict(pairwise(command))
    if "--partition-range" in options:
        return days_between(*options["--partition-range"].split("..."))
    if "--from" in options:
        return days_between(options["--from"], options["--to"])
    return set((options.get("--partition") or options["--partitions"]).split(","))


def cron(at: str) -> str:
    """`03:30`, `Monday 02:00`, `each hour, :07` and `each 15 minutes, :00` as the page writes them."""
    if every := re.fullmatch(r"each (\d+) minutes, :00", at):
        return f"*/{every[1]} * * * *"
    weekday = "1" if at.startswith("Monday ") else "*"
    hour, minute = at.removeprefix("each hour, ").removeprefix("Monday ").split(":")
    return f"{int(minute)} {int(hour) if hour else '*'} * * {weekday}"


def test_the_page_shows_the_commands_that_these_tests_run_and_no_other(root: Path) -> None:
    shown = page.commands(root, "")

    assert len(page.commands(root, "asset materialize")) == 8
    assert len(page.commands(root, "job backfill")) == 3
    assert len(shown) == 11, shown
    assert page.inline(root) == {
        "dagster-daemon run -w workspace.yaml", "dagster schedule start NAME", "dagster sensor start NAME",
    }  # fmt: skip


def test_the_pages_materializations_work_one_after_the_other(tmp_path: Path, root: Path, valkey_server: str) -> None:
    """From raw history to a champion and a filled online store, then drift, scores and labels, and features of a range and of a day."""
    place = place_of(tmp_path, root, valkey_server)
    graph = defs().resolve_asset_graph()

    with place.dagster() as dagster, dg.DagsterInstance.from_config(str(place.home)) as instance:
        for shown in page.commands(root, "asset materialize"):
            command = page.on_days(shown, WHOLE)
            dagster(command)

            selected = dg.AssetSelection.from_coercible(page.option(command, "--select").split(",")).resolve(graph)
            assert selected
            for key in selected:
                assert instance.get_materialized_partitions(key) >= asked(command), (command, key)

    assert place.past.lake.scan("label_facts").num_rows > 0


def test_the_pages_backfills_materialize_every_day_through_a_daemon(tmp_path: Path, root: Path) -> None:
    """Each queues a run for each day, whatever the policy says, and the daemon runs them to the end."""
    place, log = place_of(tmp_path, root), tmp_path / "daemon.log"
    # What is learnt as of the backfilled days; their own facts are what the first backfill makes.
    write_imported_facts(place.past.lake, START_MS, BEFORE_THEM_MS, LABEL_DELAY_DAYS)
    shown = page.commands(root, "job backfill")
    commands = [page.on_days(command, ONE_DAY.get(page.option(command, "-j"), BACKFILLED)) for command in shown]
    expected = {(page.option(command, "-j"), day) for command in commands for day in asked(command)}

    with dg.DagsterInstance.from_config(str(place.home)) as instance, daemon(place, log) as process:
        with place.dagster() as dagster:
            for command in commands:
                dagster(command)
        statuses = finished(instance, process, log, WITHIN_S)

        assert statuses == dict.fromkeys(expected, dg.DagsterRunStatus.SUCCESS), log.read_text(errors="replace")[-3000:]
        backfills = {backfill.backfill_id for backfill in instance.get_backfills()}
        assert len(backfills) == len(commands)
        assert {run.tags["dagster/backfill"] for run in instance.get_runs()} == backfills
        for command in commands:
            for key in defs().resolve_job_def(page.option(command, "-j")).asset_layer.executable_asset_keys:
                assert instance.get_materialized_partitions(key) == asked(command), (command, key)
    assert place.past.lake.scan("label_facts", BEFORE_THEM_MS).num_rows > 0


def test_a_schedule_and_a_sensor_of_the_page_are_switched_on_by_their_names(tmp_path: Path, root: Path) -> None:
    place = make_place(tmp_path, root)
    sensors = {sensor.name for sensor in defs().get_repository_def().sensor_defs}
    text = (root / "docs" / "operations.md").read_text()
    assert all(f"| `{name}` |" in text for name in sensors)
    named = {"schedule": next(iter(page.schedules(root))), "sensor": min(sensors)}

    with place.dagster() as dagster:
        for kind, name in named.items():
            dagster([kind, "start", name])

    with dg.DagsterInstance.from_config(str(place.home)) as instance:
        running = {state.name for state in instance.all_instigator_state() if state.status is InstigatorStatus.RUNNING}
    assert running == set(named.values())


def test_the_page_lists_the_schedules_that_exist_with_their_times(root: Path) -> None:
    found = {schedule.name: schedule.cron_schedule for schedule in defs().get_repository_def().schedule_defs}

    assert {name: cron(at) for name, at in page.schedules(root).items()} == found
