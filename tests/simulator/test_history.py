"""History is what the contracts say, where the lake says, the same each time, and quickly made."""

import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_assets.contracts.events import Transaction
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import TABLES, arrow_schema, to_events
from simulator.build import build_world, name_world
from simulator.history import WorldFile, generate_day, generate_days, write_history
from simulator.plan import plan_attacks
from simulator.spec import DAY_MS, WorldSpec
from simulator.tables import CONTRACT_OF, as_table
from tests.simulator.worlds import KEY, SPEC, Made


def digest(table: pa.Table) -> str:
    """Of the values: equal tables have equal digests whatever their chunks."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


@pytest.mark.parametrize("name", sorted(CONTRACT_OF))
def test_each_table_has_the_schema_of_its_contract(made: Made, name: str) -> None:
    """Column names, order, types and nullability are those that the lake derives from the contract."""
    assert made.table(name).schema.equals(arrow_schema(TABLES[name]))


@pytest.mark.parametrize("name", sorted(CONTRACT_OF))
def test_every_row_passes_its_contracts_bounds(made: Made, name: str) -> None:
    """Decoding through the contract checks every bound of every field."""
    table = made.table(name)

    assert len(to_events(TABLES[name], table.slice(0, 20_000))) == min(len(table), 20_000)


@pytest.mark.parametrize("name", sorted(CONTRACT_OF))
def test_history_arrives_in_one_partition_in_the_order_of_event_time(made: Made, name: str) -> None:
    table = made.table(name)
    time = table["event_time_ms"].to_numpy()

    assert table["ingested_at_ms"].equals(table["event_time_ms"])
    assert table["source_offset"].to_pylist() == list(range(len(table)))
    assert set(table["source_topic"].to_pylist()) == {f"import.{name}.v1"}
    assert set(table["source_partition"].to_pylist()) == {0}
    assert not any(table["is_duplicate"].to_pylist())
    assert np.all(np.diff(time) >= 0)
    assert time.min() >= SPEC.start_ms
    assert time.max() < SPEC.end_ms


def test_files_lie_in_the_partition_of_their_event_date(made: Made) -> None:
    for file in made.lake.glob("*/event_date=*/*.parquet"):
        days = np.unique(pq.read_table(file, partitioning=None)["event_time_ms"].to_numpy() // DAY_MS)
        assert [f"event_date={np.datetime64(int(day), 'D')}" for day in days] == [file.parent.name]


def test_the_platforms_lake_reads_what_was_written(made: Made) -> None:
    rows = Lake(made.lake).scan("transactions")

    assert len(rows) == made.summary.transactions


def test_writing_leaves_no_drafts_behind(made: Made) -> None:
    """Drafts are hidden files; a reader never meets one, and none remains."""
    assert list(made.lake.parent.rglob(".*")) == []


def test_same_seed_same_bytes(made: Made, tmp_path: Path) -> None:
    """Every file of the lake and of the truth, byte for byte."""
    write_history(SPEC, tmp_path / "lake", KEY)

    first = {file.relative_to(made.lake.parent): file for file in made.lake.parent.rglob("*.*")}
    again = {file.relative_to(tmp_path): file for file in tmp_path.rglob("*.*")}
    assert first.keys() == again.keys()
    assert all(first[name].read_bytes() == again[name].read_bytes() for name in first if first[name].is_file())


def test_another_seed_is_another_world(made: Made) -> None:
    spec = msgspec.structs.replace(SPEC, seed=12)
    world = build_world(spec)
    day = generate_day(world, name_world(world, KEY), plan_attacks(world), 0)

    other = as_table(Transaction, day.columns)

    assert digest(other) != digest(made.table("transactions").slice(0, len(other)).select(other.column_names))


def test_a_day_made_alone_equals_the_day_made_in_its_turn(made: Made) -> None:
    """No day depends on which days were made before it, or by which thread."""
    in_turn = [as_table(Transaction, day.columns) for day in generate_days(made.world, made.names, made.attack)]

    alone = as_table(Transaction, generate_day(made.world, made.names, made.attack, 7).columns)

    assert digest(alone) == digest(in_turn[7])


def test_a_second_history_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    small = WorldSpec(seed=3, start_ms=20_000 * DAY_MS, days=2, rate_per_day=200, accounts=500, events=60)
    write_history(small, tmp_path / "lake", KEY)
    foreign = tmp_path / "lake" / "transactions" / "event_date=2024-10-04" / "sink.parquet"
    foreign.write_bytes(b"of the worker")

    later = msgspec.structs.replace(small, start_ms=small.start_ms + 10 * DAY_MS)
    write_history(later, tmp_path / "lake", KEY)

    ours = sorted(file.parent.name for file in (tmp_path / "lake" / "transactions").glob("*/history.parquet"))
    assert ours == ["event_date=2024-10-14", "event_date=2024-10-15"]
    assert foreign.read_bytes() == b"of the worker"


def test_until_ends_the_last_day_early(tmp_path: Path) -> None:
    """For a live run that carries on from the present."""
    noon = 20_001 * DAY_MS + DAY_MS // 2
    spec = WorldSpec(seed=3, start_ms=20_000 * DAY_MS, days=2, rate_per_day=400, accounts=500, events=60, until_ms=noon)
    write_history(spec, tmp_path / "lake", KEY)

    for file in (tmp_path / "lake").glob("*/event_date=*/*.parquet"):
        assert max(pq.read_table(file, partitioning=None)["event_time_ms"].to_pylist()) < noon


def test_the_world_file_rebuilds_the_same_world(made: Made) -> None:
    """What a live run reads to carry on."""
    stored = msgspec.json.decode((made.lake.parent / "truth" / "world.json").read_bytes(), type=WorldFile)

    assert stored.spec == SPEC
    assert np.array_equal(build_world(stored.spec).accounts.weight, made.world.accounts.weight)
    assert len(stored.tickets_sold) == SPEC.events


def test_a_missing_column_is_refused_by_name(made: Made) -> None:
    day = generate_day(made.world, made.names, made.attack, 0)
    columns = {name: column for name, column in day.columns.items() if name != "tier"}

    with pytest.raises(ValueError, match="tier"):
        as_table(Transaction, replace(day, columns=columns).columns)
