"""The asset graph as JSON, for a snapshot that is reviewed as a diff.

python -m tests.defs.graph > tests/defs/asset_graph.json
"""

import json
import sys

import dagster as dg

from fraud_assets.definitions import defs


def asset_graph(definitions: dg.Definitions) -> dict[str, object]:
    """Assets with what an operator depends on, jobs and schedules; ordered, so that a diff is a change."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    checks: dict[str, list[str]] = {}
    for check in graph.asset_check_keys:
        blocking = " (blocking)" if graph.get_check_spec(check).blocking else ""
        checks.setdefault(check.asset_key.to_user_string(), []).append(f"{check.name}{blocking}")
    assets = {}
    for key in sorted(graph.get_all_asset_keys()):
        node, name = graph.get(key), key.to_user_string()
        assets[name] = {
            "group": node.group_name,
            "materialized_here": node.is_materializable,
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "partitions": "daily" if isinstance(node.partitions_def, dg.DailyPartitionsDefinition) else None,
            "one_run_backfill": node.backfill_policy == dg.BackfillPolicy.single_run(),
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "checks": sorted(checks.get(name, [])),
        }
    return {
        "assets": assets,
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
        "schedules": {
            schedule.name: str(schedule.cron_schedule)
            for schedule in sorted(repository.schedule_defs, key=lambda s: s.name)
        },
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
    }


if __name__ == "__main__":
    json.dump(asset_graph(defs()), sys.stdout, indent=1)
    print()
