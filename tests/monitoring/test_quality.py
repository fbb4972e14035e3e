"""Each data-quality check fails on what it is for and passes at its bound, alone and as the check of a raw table's asset."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from fraud_assets.contracts.events import Decision, Explanation
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.defs.ingestion.assets import CHECKS, RAW, raw_asset
from fraud_assets.defs.resources import resources_of
from fraud_assets.monitoring.quality import (
    MAX_AHEAD_MS,
    BadRawDay,
    quality_by_day,
    quality_of,
    refuse_bad_days,
)
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.history import END_MS, FIRST_DAY, START_MS, Past
from tests.monitoring.decisions import decided_at, explanation_of

N = 5
TABLES = ("transactions", "activity", "profiles", "labels", "decisions", "explanations")
Rows = Callable[[str], pa.Table]


@pytest.fixture(scope="module")
def rows(past: Past) -> Rows:
    """The first rows of a table, all of them good; payments are of the first day."""
    made = decided_at(past, END_MS - DAY_MS, END_MS, N)[1]

    def good(table: str) -> pa.Table:
        if table == "decisions":
            at = [LogPosition(decision.event_time_ms, "decisions.v1", 0, n) for n, decision in enumerate(made)]
            return from_events(Decision, made, at)
        if table == "explanations":
            told = [explanation_of(decision) for decision in made]
            at = [LogPosition(one.event_time_ms, "explanations.v1", 0, n) for n, one in enumerate(told)]
            return from_events(Explanation, told, at)
        return past.lake.scan(table).slice(0, N)

    return good


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def changed(rows: pa.Table, place: int, **values: object) -> pa.Table:
    """The same rows but for some values of one of them."""
    for name, value in values.items():
        column = rows[name].to_pylist()
        column[place] = value
        rows = rows.set_column(
            rows.schema.names.index(name), rows.schema.field(name), pa.array(column, rows[name].type)
        )
    return rows


def problems(lake: Lake, table: str, rows: pa.Table) -> dict[str, int]:
    """Bad rows by the name of each check that finds some."""
    lake.append(table, rows, "rows")
    with duckdb.connect() as connection:
        found = quality_of(connection, lake, DAY_MS, table, 0, END_MS + DAY_MS)
    return {name: count for name, count in found.problems().items() if count}


@pytest.mark.parametrize("table", TABLES)
def test_good_rows_pass_every_check(lake: Lake, rows: Rows, table: str) -> None:
    assert problems(lake, table, rows(table)) == {}


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("transactions", "transaction_id"),
        ("transactions", "account_id"),
        ("activity", "activity_id"),
        ("activity", "event_id"),
        ("profiles", "profile_id"),
        ("profiles", "account_id"),
        ("labels", "label_id"),
        ("labels", "account_id"),
        ("decisions", "decision_id"),
        ("decisions", "account_id"),
        ("explanations", "decision_id"),
        ("explanations", "account_id"),
    ],
)
def test_an_event_without_its_own_name_or_its_keys_is_found(lake: Lake, rows: Rows, table: str, column: str) -> None:
    assert problems(lake, table, changed(rows(table), 2, **{column: ""})) == {"no_empty_ids": 1}


@pytest.mark.parametrize("table", TABLES)
def test_an_event_dated_more_than_five_minutes_ahead_is_found_but_a_profiles_date_may_be(
    lake: Lake, rows: Rows, table: str
) -> None:
    time_ms = rows(table)["event_time_ms"].to_pylist()
    at_the_bound = changed(rows(table), 1, ingested_at_ms=time_ms[1] - MAX_AHEAD_MS)
    beyond = changed(at_the_bound, 2, ingested_at_ms=time_ms[2] - MAX_AHEAD_MS - 1)

    assert problems(lake, table, at_the_bound) == {}
    assert problems(lake, table, beyond) == ({} if table == "profiles" else {"no_future_events": 1})


@pytest.mark.parametrize(
    ("table", "column", "least", "most"),
    [
        ("transactions", "amount_minor", 0, 10**12),
        ("transactions", "ticket_count", 1, 10**6),
        ("activity", "inventory", 0, None),
        ("activity", "tickets_sold", 0, None),
        ("activity", "capacity", 0, None),
        ("profiles", "created_at_ms", 0, None),
        ("profiles", "address_changed_at_ms", 0, None),
        ("labels", "revision", 0, 10**6),
        ("decisions", "fraud_score", 0, 1),
        ("decisions", "latency_ms", 0, None),
    ],
)
def test_a_value_outside_the_contract_is_found_and_its_bounds_are_inside(
    lake: Lake, rows: Rows, table: str, column: str, least: int, most: int | None
) -> None:
    within = changed(rows(table), 0, **{column: least})
    below = changed(within, 1, **{column: least - 1})
    if most is not None:
        within = changed(within, 2, **{column: most})
        below = changed(below, 3, **{column: most + 1})

    assert problems(lake, table, within) == {}
    assert problems(lake, table, below) == {"values_in_range": 1 if most is None else 2}


@pytest.mark.parametrize("column", ["margin", "base_value"])
def test_an_explanation_that_adds_up_to_no_number_is_found(lake: Lake, rows: Rows, column: str) -> None:
    doctored = changed(changed(rows("explanations"), 0, **{column: math.inf}), 1, **{column: math.nan})

    assert problems(lake, "explanations", doctored) == {"values_in_range": 2}


def test_an_identity_or_a_position_that_occurs_twice_is_found_and_a_marked_copy_is_not(lake: Lake, rows: Rows) -> None:
    good = rows("transactions")
    first = good.slice(0, 1)
    after_ms = max(good["ingested_at_ms"].to_pylist()) + 1
    copy = changed(first, 0, ingested_at_ms=after_ms, source_offset=10**9)
    moved = changed(first, 0, ingested_at_ms=after_ms, transaction_id="other")

    assert problems(lake, "transactions", pa.concat_tables([good, changed(copy, 0, is_duplicate=True)])) == {}
    assert problems(lake, "transactions", pa.concat_tables([good, copy])) == {"no_duplicates": 1}
    assert problems(lake, "transactions", pa.concat_tables([good, moved])) == {"no_duplicates": 1}


def test_an_identity_that_returns_after_the_horizon_is_another_event(lake: Lake, rows: Rows) -> None:
    """As the dedupe stage has it: the horizon is closed, and counts arrival time."""
    good = rows("transactions")
    first = good.slice(0, 1)
    arrived_ms = first["ingested_at_ms"].to_pylist()[0]
    within = changed(first, 0, ingested_at_ms=arrived_ms + DAY_MS, source_offset=10**9)
    after = changed(first, 0, ingested_at_ms=arrived_ms + DAY_MS + 1, source_offset=10**9)

    assert problems(lake, "transactions", pa.concat_tables([good, within])) == {"no_duplicates": 1}
    assert problems(lake, "transactions", pa.concat_tables([good, after])) == {}


def test_a_marked_copy_is_judged_by_nothing_else(lake: Lake, rows: Rows) -> None:
    bad = changed(rows("transactions"), 1, transaction_id="", amount_minor=-1, is_duplicate=True)

    assert problems(lake, "transactions", bad) == {}


def test_a_repeat_counts_on_the_day_of_its_later_copy_and_the_days_add_up(lake: Lake, rows: Rows) -> None:
    good = rows("transactions")
    row = good.slice(0, 1)
    at = {name: row[name].to_pylist()[0] + DAY_MS for name in ("event_time_ms", "ingested_at_ms")}
    lake.append("transactions", pa.concat_tables([good, changed(row, 0, source_offset=10**9, **at)]), "rows")

    with duckdb.connect() as connection:
        days = quality_by_day(connection, lake, DAY_MS, "transactions")
        whole = quality_of(connection, lake, DAY_MS, "transactions", START_MS, END_MS)

    assert {day: (found.rows, found.repeated_ids) for day, found in days.items()} == {
        FIRST_DAY: (N, 0),
        "2026-10-02": (1, 1),
    }
    assert (whole.rows, whole.repeated_ids) == (N + 1, 1)
    assert whole.last_arrival_ms == at["ingested_at_ms"]


def test_rows_are_counted_by_the_hour_of_their_event_time_without_marked_copies(lake: Lake, rows: Rows) -> None:
    events = rows("transactions").slice(0, 3)
    for place, minute in enumerate((0, 59, 23 * 60)):
        events = changed(events, place, event_time_ms=START_MS + minute * 60_000, is_duplicate=place == 1)
    lake.append("transactions", events, "rows")

    events = changed(rows("transactions").slice(3, 1), 0, event_time_ms=START_MS + DAY_MS + 1)
    lake.append("transactions", events, "another-day")

    with duckdb.connect() as connection:
        found = quality_of(connection, lake, DAY_MS, "transactions", START_MS, END_MS)

    assert found.by_hour == (2, *[0] * 22, 1)


def test_no_rows_are_no_problem(lake: Lake) -> None:
    with duckdb.connect() as connection:
        found = quality_of(connection, lake, DAY_MS, "transactions", START_MS, END_MS)

    assert (found.rows, found.last_arrival_ms, set(found.problems().values()), sum(found.by_hour)) == (0, 0, {0}, 0)


def test_a_refusal_names_tables_days_and_checks_and_how_many_more_there_are(lake: Lake, rows: Rows) -> None:
    lake.append("transactions", changed(rows("transactions"), 0, transaction_id="", amount_minor=-1), "rows")
    lake.append("labels", changed(changed(rows("labels"), 0, label_id=""), 1, revision=-1), "rows")

    with (
        duckdb.connect() as connection,
        pytest.raises(
            BadRawDay,
            match=rf"transactions of {FIRST_DAY} fails no_empty_ids \(1 rows\).*labels of .* fails no_empty_ids .* and 1 more",
        ),
    ):
        refuse_bad_days(connection, lake, DAY_MS, TABLES)


def test_what_had_not_arrived_is_not_judged_and_neither_are_days_without_a_new_arrival(lake: Lake, rows: Rows) -> None:
    bad = changed(rows("transactions"), N - 1, amount_minor=-1)
    last_ms = max(bad["ingested_at_ms"].to_pylist())
    lake.append("transactions", bad, "rows")

    with duckdb.connect() as connection:
        refuse_bad_days(connection, lake, DAY_MS, ["transactions"], as_known_at_ms=last_ms)
        refuse_bad_days(connection, lake, DAY_MS, ["transactions"], arrived_from_ms=last_ms + 1)
        for asked in ({"as_known_at_ms": last_ms + 1}, {"arrived_from_ms": last_ms}):
            with pytest.raises(BadRawDay, match="values_in_range"):
                refuse_bad_days(connection, lake, DAY_MS, ["transactions"], **asked)


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        ("no_empty_ids", {"transaction_id": ""}),
        ("no_future_events", {"ingested_at_ms": START_MS - DAY_MS}),
        ("values_in_range", {"amount_minor": -1}),
        ("no_duplicates", {"transaction_id": "first", "account_id": "first"}),
    ],
)
def test_the_tables_own_check_fails_by_that_name_and_the_others_pass(
    lake: Lake, rows: Rows, tmp_path: Path, check: str, bad: dict[str, Any]
) -> None:
    named = changed(rows("transactions"), 0, transaction_id="first", account_id="first")
    lake.append("transactions", changed(named, 1, **bad), "rows")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [raw_asset("transactions", *RAW["transactions"])],
            resources=resources_of(Settings(var_dir=tmp_path)),
            instance=instance,
            partition_key=FIRST_DAY,
            raise_on_error=False,
        )

    found = {item.check_name: item for item in result.get_asset_check_evaluations()}
    assert {name: item.passed for name, item in found.items()} == {name: name != check for name in CHECKS}
    assert found[check].severity is dg.AssetCheckSeverity.ERROR
    assert found[check].blocking
    assert found[check].metadata["bad_rows"].value == 1
