"""What the assets on labels as of a day have in common.

A partition is as of the midnight that begins it, as a training set's is: what training may know of labels lies under the same day.
"""

import dagster as dg

from fraud_assets.defs.partitions import SETTINGS
from fraud_assets.labels.shapes import Caps
from fraud_assets.settings import Settings

GROUP = "labels"
OWNER = "team:fraud-ml"

# The days before it, as far as they exist.
lookback = dg.TimeWindowPartitionMapping(
    start_offset=-SETTINGS.graph_lookback_days, end_offset=-1, allow_nonexistent_upstream_partitions=True
)


def caps_of(settings: Settings) -> Caps:
    return Caps(device=settings.graph_device_cap, card=settings.graph_card_cap, ip=settings.graph_ip_cap)
