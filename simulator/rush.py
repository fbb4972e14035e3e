"""The last minutes of a history at the rate of a live run.

A world of two thousand purchases a day has one in forty seconds. Traffic of twenty a second is another world to whoever counts
the purchases of an hour: with such a history before it, a live run goes on as things were.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from simulator.activity import counts_every, joined
from simulator.build import World
from simulator.ids import hex_ids, numbers_from
from simulator.labels import Pace
from simulator.live_plan import LivePlan, plan_live
from simulator.scenarios.scenario import Scenario, TestingBurst
from simulator.spec import MINUTE_MS
from simulator.tables import (
    CONTRACT_OF,
    Columns,
    LakeTable,
    activity_columns,
    label_columns,
    profile_columns,
    transaction_columns,
)
from simulator.world import Ints, Names

FILE_NAME = "rush.parquet"
# Another draw than that of a live run of the world's seed: its first buyers would be ours again, in the same order.
SEED_BESIDE = 1
ORDINARY = Scenario(
    name="rush", summary="Ordinary buyers and the everyday fraud, at the rate of a live run.", regulars=True
)
# Card testing of every manner in the last quarter, which is what a model of minutes learns from.
ATTACKED = replace(
    ORDINARY,
    bursts=tuple(
        TestingBurst(start=start, length=0.045, share=0.0015, camouflage=camouflage, cash_out_delay=0.005)
        for start, camouflage in ((0.77, 0.1), (0.81, 0.4), (0.86, 0.7), (0.9, 0.2), (0.94, 0.5))
    ),
)
COUNTED_EVERY_MS = 2_000  # as a live run counts


@dataclass(frozen=True)
class Rush:
    """minutes: of it, at the end of a history. rate_per_s: purchases. is_attacked: with card testing in it."""

    minutes: float
    rate_per_s: float
    is_attacked: bool = False

    @property
    def duration_ms(self) -> int:
        return int(self.minutes * MINUTE_MS)


def plan_rush(world: World, rush: Rush, pace: Pace) -> LivePlan:
    """Traffic from where the world's days end."""
    scenario = ATTACKED if rush.is_attacked else ORDINARY
    seconds, seed = rush.duration_ms / 1000, world.spec.seed + SEED_BESIDE
    return plan_live(world, scenario, rush.rate_per_s, seconds, seed, world.spec.end_ms, pace)


def write_rush(
    world: World, names: Names, plan: LivePlan, lake: Path, offsets: dict[str, int], sold: Ints
) -> tuple[Ints, dict[str, int]]:
    """Files beside the history's own; tickets sold by the end, and rows by table. offsets: rows that each has already.

    What would be said after the end is not said.
    """
    block = int(plan.number[0])
    counts, sold_after = counts_every(world, plan.rows, plan.start_ms, COUNTED_EVERY_MS, sold)
    happened = joined([plan.activity, counts])
    happened = happened.take(
        (happened.time_ms >= plan.start_ms) & (happened.time_ms < plan.start_ms + plan.duration_ms)
    )
    known = plan.labels.known_ms < plan.start_ms + plan.duration_ms
    columns: dict[str, Columns] = {
        "transactions": transaction_columns(world, names, plan.rows, hex_ids("txn_", plan.number, world.spec.seed)),
        "activity": activity_columns(world, names, happened, numbers_from(block, len(happened))),
        "profiles": profile_columns(world, names, plan.profiles, numbers_from(block, len(plan.profiles))),
        "labels": label_columns(names, plan.labels.take(known), world.spec.seed),
    }
    tables = {name: LakeTable(lake, name, CONTRACT_OF[name], FILE_NAME, offsets[name]) for name in columns}
    for name, table in tables.items():
        table.append(columns[name])
    return sold_after, {name: table.rows for name, table in tables.items()}
