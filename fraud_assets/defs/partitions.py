"""Partitions are days of UTC, never entities."""

import math
from datetime import timedelta

import dagster as dg

from fraud_assets.settings import Settings
from fraud_assets.stores.lake import start_ms

# Read when the code location loads, which is this process's entry point.
SETTINGS = Settings()

# end_offset: today is a partition too. It holds what has happened so far, and is made again tonight.
daily = dg.DailyPartitionsDefinition(start_date=SETTINGS.history_start.isoformat(), end_offset=1)

# A range of days is one run: forty views share one reading of the log.
one_run = dg.BackfillPolicy.single_run()

DAY_MS = 86_400_000

# What an asset as of a day needs of daily assets: the days before it, as far as they exist.
before_as_of = dg.TimeWindowPartitionMapping(
    start_offset=-math.ceil(SETTINGS.training_window_days + SETTINGS.label_delay_days),
    end_offset=-1,
    allow_nonexistent_upstream_partitions=True,
)


def days_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[str]:
    """The days of this run, ascending."""
    return sorted(context.partition_keys)


def end_ms(day: str) -> int:
    return start_ms(day) + DAY_MS


def fresh_within(hours: float) -> dg.FreshnessPolicy:
    """Late after two thirds of the time, failed after all of it."""
    return dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=hours), warn_window=timedelta(hours=hours * 2 / 3)
    )
