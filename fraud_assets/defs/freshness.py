"""Is yesterday there? A policy knows when an asset was last made; these checks know for which day.

Dagster's own `build_time_partition_freshness_checks` asks for the newest partition that there is at the deadline. Here that is
today (`partitions.daily`), of which in the morning there is a model and nothing else yet: every view would be late every day.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from fraud_assets.defs.ingestion.assets import RAW
from fraud_assets.defs.partitions import SETTINGS
from fraud_assets.features.catalogue.ticketing import registry

# The nightly jobs start at half past midnight and are through by half past four, with a margin for a bad night.
DEADLINE_HOUR = 5
DEADLINE = timedelta(hours=DEADLINE_HOUR)
DAILY = (
    *RAW,
    "label_facts",
    *registry().views,
    "online_store_snapshot",
    "skew_report",
    "drift_report",
    "prediction_drift",
)
# What is as of the day that begins, not of the one that ended.
LABELLED = ("label_maturity", "label_noise", "identity_graph", "label_confidence")
AS_OF = (*LABELLED, "training_set", "fraud_model", "champion_model")
# Of the newest day whose label delay is over.
MATURED = ("calibration_report", "performance_report")
# How many days before the deadline's own the partition is of that it asks for.
DAYS_BACK = {
    **dict.fromkeys(DAILY, 1),
    **dict.fromkeys(AS_OF, 0),
    **dict.fromkeys(MATURED, SETTINGS.label_delay_whole_days + 1),
}
NAME = "freshness_check"


def last_deadline(now: datetime) -> datetime:
    """The newest instant, not after `now`, by which a night's partitions had to be there."""
    return (now - DEADLINE).replace(hour=0, minute=0, second=0, microsecond=0) + DEADLINE


def judge(instance: dg.DagsterInstance, asset: dg.AssetKey, deadline: datetime) -> dg.AssetCheckResult:
    """Whether the partition that was due is there. Of an asset that was first made after the deadline, none was due."""
    passed, said = _verdict(instance, asset, deadline, DAYS_BACK[asset.to_user_string()])
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=asset,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "deadline": dg.MetadataValue.timestamp(deadline.timestamp()),
            "next_deadline": dg.MetadataValue.timestamp((deadline + timedelta(days=1)).timestamp()),
        },
    )


def _verdict(instance: dg.DagsterInstance, asset: dg.AssetKey, deadline: datetime, days_back: int) -> tuple[bool, str]:
    """Whether it passes, and why."""
    day = (deadline - timedelta(days=days_back)).date().isoformat()
    made = _made(instance, dg.AssetRecordsFilter(asset, asset_partitions=[day]))
    # Today is a partition too, and holds what has happened so far: a day that ended is there when it was made after its end.
    if made is not None and (days_back == 0 or made >= deadline - DEADLINE):
        return True, f"{day} is there"
    first = _made(instance, dg.AssetRecordsFilter(asset), ascending=True)
    if first is None:
        return False, f"never made; {day} was due"
    if first > deadline:
        return True, "made for the first time after the last deadline, so no day was due"
    if made is not None:
        return False, f"{day} was made before it ended; materialize it again (docs/operations.md)"
    return False, f"{day} is missing; materialize it (docs/operations.md)"


def _made(instance: dg.DagsterInstance, which: dg.AssetRecordsFilter, *, ascending: bool = False) -> datetime | None:
    """When the newest, or the oldest, of some materializations was."""
    records = instance.fetch_materializations(which, limit=1, ascending=ascending).records
    return datetime.fromtimestamp(records[0].timestamp, UTC) if records else None


@dg.multi_asset_check(
    name="freshness",
    specs=[
        dg.AssetCheckSpec(
            NAME, asset=name, description=f"The partition that was due by {DEADLINE_HOUR:02}:00 UTC is there."
        )
        for name in DAYS_BACK
    ],
    can_subset=True,
)
def freshness(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    deadline = last_deadline(datetime.now(UTC))
    for check in context.selected_asset_check_keys:
        yield judge(context.instance, check.asset_key, deadline)


nightly_freshness = dg.ScheduleDefinition(
    name="nightly_freshness",
    target=dg.AssetSelection.checks(freshness),
    cron_schedule=f"0 {DEADLINE_HOUR} * * *",
    execution_timezone="UTC",
)
