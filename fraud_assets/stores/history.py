"""The lake's tables as the engine's log, as known at one time.

Training sets, feature views, snapshots and skew reports all begin here, so that all of them see the
same events in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fraud_assets.engine.batch import Log
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.prepare import Columns
from fraud_assets.features.language import FeatureService, FeatureView
from fraud_assets.features.sources import Source
from fraud_assets.stores.frames import columns_from_arrow, needed_columns
from fraud_assets.stores.lake import Lake


@dataclass
class HistoryReader:
    """Reads each source once and keeps its columns: forty views of one run share one scan.

    Made for one run. Rows that arrive in the lake meanwhile are not seen, and that is the point:
    everything in a run agrees on what had happened.
    """

    lake: Lake
    plan: EnginePlan
    _kept: dict[tuple[str, int | None], Columns] = field(default_factory=dict)

    def columns(self, source: Source, as_known_at_ms: int | None = None) -> Columns:
        """Events of a source in log order, those that arrived before `as_known_at_ms`."""
        key = (source.name, as_known_at_ms)
        if key not in self._kept:
            rows = self.lake.scan(source.table, as_known_at_ms=as_known_at_ms, columns=needed_columns(source))
            self._kept[key] = columns_from_arrow(self.plan, source, rows)
        return self._kept[key]

    def log(self, sources: Sequence[Source], as_known_at_ms: int | None = None) -> Log:
        return Log(self.plan, [self.columns(source, as_known_at_ms) for source in sources])


def view_service(plan: EnginePlan, view: FeatureView, scored: Source) -> ServicePlan:
    """The features of one view as a service of its own, over the whole registry's plan."""
    return ServicePlan(plan, FeatureService(name=view.name, scored=scored, views=(view,)))


def rows_between(columns: Columns, from_ms: int, to_ms: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Places of the events with event time in [from_ms, to_ms)."""
    return np.flatnonzero((columns.time >= from_ms) & (columns.time < to_ms)).astype(np.int64)
