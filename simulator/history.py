"""Past days of the world: generated day by day, written to the lake, the truth kept apart from it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.tokens import TokenKey
from simulator.activity import (
    ActivityRows,
    closings,
    inventory_counts,
    joined,
    opening_counts,
    views_before,
    window_shopping,
)
from simulator.arrivals import arrivals_of_day
from simulator.build import World, build_world, name_world
from simulator.campaigns import Attack
from simulator.ids import hex_ids, row_numbers
from simulator.labels import Pace, StatedLabels, by_known_time, labels_of, stated
from simulator.market import Market
from simulator.ordinary import ordinary_purchases
from simulator.plan import plan_attacks
from simulator.profiles import profile_history
from simulator.purchases import Purchases, concat
from simulator.rush import Rush, plan_rush, write_rush
from simulator.spec import DAY_MS, WorldSpec, stream
from simulator.tables import (
    CONTRACT_OF,
    Columns,
    LakeTable,
    activity_columns,
    as_table,
    label_columns,
    profile_columns,
    transaction_columns,
    write_atomically,
)
from simulator.truth import TruthFile, truth_of
from simulator.world import Ints, Names

Numbers = npt.NDArray[np.uint64]
_THREADS = 2  # NumPy and Arrow release the interpreter's lock; more would only wait for memory


@dataclass(frozen=True)
class Day:
    """One day's purchases in time order, with their numbers and their contract columns."""

    index: int
    start_ms: int
    market: Market
    rows: Purchases
    number: Numbers
    columns: Columns


class HistorySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, and where."""

    lake: str
    truth: str
    transactions: int
    activity: int
    profiles: int
    labels: int
    labels_pending: int
    fraud: int
    campaigns: int


class WorldFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a live run needs to carry on where the history ended: `<truth>/world.json`."""

    spec: WorldSpec
    tickets_sold: list[int]


def purchases_of_day(world: World, attack: Attack, day: int) -> Purchases:
    """Ordinary and attacking purchases of one day, in time order."""
    start = world.spec.start_ms + day * DAY_MS
    market = Market.at(world, start)
    visits = arrivals_of_day(world, day)
    honest = ordinary_purchases(world, market, visits, day, stream(world.spec, "ordinary", day))
    first, last = np.searchsorted(attack.purchases.time_ms, [start, start + DAY_MS])
    rows = concat([honest, attack.purchases.take(slice(int(first), int(last)))]).by_time()
    # A retry that would fall past midnight does not happen: a day is made without its neighbours.
    end = min(start + DAY_MS, world.spec.end_ms)
    return rows.take(slice(0, int(np.searchsorted(rows.time_ms, end))))


def generate_day(world: World, names: Names, attack: Attack, index: int) -> Day:
    """One day as contract columns; any day can be made alone, and always comes out the same."""
    rows = purchases_of_day(world, attack, index)
    number = row_numbers(index, len(rows))
    ids = hex_ids("txn_", number, world.spec.seed)
    start = world.spec.start_ms + index * DAY_MS
    columns = transaction_columns(world, names, rows, ids)
    return Day(index, start, Market.at(world, start), rows, number, columns)


def generate_days(world: World, names: Names, attack: Attack) -> Iterator[Day]:
    """All days in order, made two at a time and no further ahead than that."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, world.spec.days, _THREADS):
            ahead = range(first, min(first + _THREADS, world.spec.days))
            yield from pool.map(lambda index: generate_day(world, names, attack, index), ahead)


def _ignore(_day: int) -> None:
    """Nobody watches."""


def write_history(
    spec: WorldSpec,
    lake: Path,
    key: TokenKey,
    on_day: Callable[[int], None] = _ignore,
    *,
    pace: Pace = Pace(),  # noqa: B008 - frozen
    rush: Rush | None = None,
) -> HistorySummary:
    """Generate the world's days into `lake` and the truth into its sibling folder `truth`.

    on_day: called with each finished day, for a progress bar. pace: of labels. rush: what follows the days.
    """
    world = build_world(spec)
    names = name_world(world, key)
    attack = plan_attacks(world)
    tables = {name: LakeTable(lake, name, contract) for name, contract in CONTRACT_OF.items()}
    truth_folder = lake.parent / "truth"
    truth_file = TruthFile(truth_folder, attack.campaigns)
    sold, fraud, spoken = world.events.sold_before, 0, []
    for day in generate_days(world, names, attack):
        truth = truth_of(world, day.rows, attack.campaigns)
        fraud += int(truth.is_fraud.sum())
        tables["transactions"].append(day.columns)
        truth_file.append(day.columns["transaction_id"], day.rows, truth)
        happened, sold = activity_of_day(world, day, sold)
        number = row_numbers(day.index, len(happened))
        tables["activity"].append(activity_columns(world, names, happened, number))
        said = labels_of(day.rows, truth, pace, stream(spec, "labels", day.index))
        spoken.append(stated(said, day.rows, day.number))
        on_day(day.index)
    truth_file.close()
    _write_profiles(world, names, attack, tables["profiles"])
    pending = _write_labels(names, by_known_time(spoken), spec, tables["labels"], truth_folder)
    rows = {name: table.rows for name, table in tables.items()}
    if rush is not None:
        plan = plan_rush(world, rush, pace)
        sold, more = write_rush(world, names, plan, lake, rows, sold)
        rows, fraud = {name: rows[name] + more[name] for name in rows}, fraud + int(plan.truth.is_fraud.sum())
    world_file = WorldFile(spec=spec, tickets_sold=sold.tolist())
    (truth_folder / "world.json").write_bytes(msgspec.json.encode(world_file))
    return HistorySummary(
        lake=str(lake),
        truth=str(truth_folder),
        **rows,
        labels_pending=pending,
        fraud=fraud,
        campaigns=len(attack.campaigns),
    )


def activity_of_day(world: World, day: Day, sold: Ints) -> tuple[ActivityRows, Ints]:
    """Views, inventory counts and closings of one day; also tickets sold by its end."""
    rng = stream(world.spec, "activity", day.index)
    counts, sold_after = inventory_counts(world, day.rows, day.start_ms, sold)
    end = day.start_ms + DAY_MS
    parts = [
        views_before(day.rows, day.start_ms, rng),
        window_shopping(world, day.market, day.start_ms, DAY_MS, len(day.rows), rng),
        opening_counts(world, day.start_ms, end),
        counts,
        closings(world, day.start_ms, end, sold_after),
    ]
    happened = joined(parts)
    return happened.take(happened.time_ms < world.spec.end_ms), sold_after


def _write_profiles(world: World, names: Names, attack: Attack, table: LakeTable) -> None:
    rows = profile_history(world, attack)
    table.append(profile_columns(world, names, rows, row_numbers(0, len(rows))))


def _write_labels(names: Names, labels: StatedLabels, spec: WorldSpec, table: LakeTable, truth_folder: Path) -> int:
    """What is known by the end goes to the lake; what will be said later waits with the truth."""
    known = labels.known_ms < spec.end_ms
    table.append(label_columns(names, labels.take(known), spec.seed))
    pending = as_table(CONTRACT_OF["labels"], label_columns(names, labels.take(~known), spec.seed))
    write_atomically(pending, truth_folder / "pending_labels.parquet")
    return len(pending)
