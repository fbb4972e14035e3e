"""Is yesterday there? A policy knows when an asset was last made; these checks know for which day."""

import dagster as dg

from fraud_assets.defs.ingestion.assets import RAW
from fraud_assets.features.catalogue.ticketing import registry

# The nightly jobs start at half past midnight and are through by half past four, with a margin for a bad night.
DEADLINE = "0 5 * * *"
DAILY = (*RAW, "label_facts", *registry().views, "online_store_snapshot", "skew_report", "drift_report")
# The model of the day that begins, not of the one that ended.
AS_OF = ("training_set", "fraud_model", "champion_model")

freshness_checks = [
    *dg.build_time_partition_freshness_checks(assets=list(DAILY), deadline_cron=DEADLINE),
    *dg.build_time_partition_freshness_checks(assets=list(AS_OF), deadline_cron=DEADLINE),
]

# Policies need no sensor, these checks do: it runs them when a deadline has passed.
freshness_sensor = dg.build_sensor_for_freshness_checks(freshness_checks=freshness_checks)
