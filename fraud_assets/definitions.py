"""What Dagster loads: every module under `defs/`, found by its place.

dagster dev                                     # workspace.yaml names this module
dagster asset materialize -m fraud_assets.definitions --select transactions --partition 2026-11-06
"""

import functools
from pathlib import Path

import dagster as dg


@dg.definitions
@functools.cache  # one command of Dagster asks six times, and each answer takes a second
def defs() -> dg.Definitions:
    """Assets, checks, jobs, schedules and resources of this code location."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
