"""What the asset `skew_report` found, read from the Dagster instance that ran it."""

from dataclasses import fields
from datetime import date
from pathlib import Path

from deploy.local.demo_steps import StepFailed
from simulator.report import Skew


def read_skew(dagster_home: Path, day: date) -> Skew:
    """The figures of the newest report of a day. Raises StepFailed where there is none."""
    import dagster as dg  # takes two seconds, and only the last step needs it

    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("skew_report"), asset_partitions=[day.isoformat()]), limit=1
        ).records
    found = records[0].asset_materialization if records else None
    if found is None:
        raise StepFailed(f"skew_report of {day} was not materialized")
    figures = {name: value.value for name, value in found.metadata.items()}
    return Skew(**{one.name: int(str(figures[one.name])) for one in fields(Skew)})
