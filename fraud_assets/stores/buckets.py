"""Values of more rows than memory holds: a bucket of keys at a time, kept by day on disk.

A window of a key looks at rows of that key alone, so the rows of some keys are to the engine a log of their own, and their values those of
the whole log bit for bit, as on a cluster (`engine/spark.py`). Files are written and read from one end to the other: a matrix in a file, written in the
order of keys, has each of its pages written back again and again.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fraud_assets.engine.batch import Log, Spine, Vectors, vectors
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import Ints, ServicePlan
from fraud_assets.engine.prepare import Columns
from fraud_assets.stores.scratch import ColumnOnDisk

# An odd number near 2**64 over the golden ratio: its multiples spread any keys, categories' small numbers too.
SPREAD = np.uint64(0x9E3779B97F4A7C15)


class _Kept:
    """Of one unit and one day: places of rows among the scored ones, and what was found of them."""

    def __init__(self) -> None:
        self.places = ColumnOnDisk(np.int64)
        self.features, self.age_s, self.status = (
            ColumnOnDisk(np.float32),
            ColumnOnDisk(np.float32),
            ColumnOnDisk(np.int8),
        )


class BucketedValues:
    """What `vectors` gives of some scored rows, computed when this is made. Raises OSError for a disk that is full.

    service: of views alone. columns: of each of its sources, in log order. chosen: places of scored rows, ascending; day: (n,) which
    of `days` each is of. rows_at_once: events of all sources in a bucket, more if one key has more.
    """

    def __init__(
        self, service: ServicePlan, columns: Sequence[Columns], chosen: Ints, day: Ints, days: int, rows_at_once: int
    ) -> None:
        self._service = service
        self._scored = service.service.scored.name
        self._columns = {item.source.name: item for item in columns}
        self._day_of = np.full(len(self._columns[self._scored]), -1, np.int32)
        self._day_of[chosen] = day
        count = max(1, -(-sum(map(len, columns)) // rows_at_once))
        self._kept = [[_Kept() for _ in range(days)] for _ in service.units]
        for place in range(len(service.units)):
            self._fill(place, count)

    def of(self, day: int) -> Vectors:
        """Rows of a day, in log order. Once: it closes its files."""
        parts = [kept[day] for kept in self._kept]
        places = [one.places.whole() for one in parts]
        n = len(places[0])
        features = np.empty((n, len(self._service.names)), np.float32)
        status, age_s = np.empty((n, len(parts)), np.int8), np.empty((n, len(parts)), np.float32)
        for place, (one, of_rows) in enumerate(zip(parts, places, strict=True)):
            order, mine = np.argsort(of_rows, kind="stable"), self._names(place)
            features[:, mine] = one.features.whole().reshape(n, len(mine))[order]
            status[:, place], age_s[:, place] = one.status.whole()[order], one.age_s.whole()[order]
        return Vectors(features, status, age_s)

    def _fill(self, place: int, count: int) -> None:
        """Compute one unit. Of a source that it does not look at no row is in its log."""
        group, _, unit = self._service.units[place]
        looked_at = {self._scored, *(source.name for source in unit.sources)}
        bucket_of = {name: _buckets(self._columns[name].keys(group.group.entity), count) for name in sorted(looked_at)}
        for number in range(count):
            rows = {name: np.flatnonzero(buckets == number) for name, buckets in bucket_of.items()}
            self._compute(place, rows)

    def _compute(self, place: int, rows: Mapping[str, Ints]) -> None:
        nothing = np.empty(0, np.int64)
        log = Log(self._service.engine, [item.take(rows.get(name, nothing)) for name, item in self._columns.items()])
        day_of = self._day_of[rows[self._scored]]
        wanted = np.flatnonzero(day_of >= 0)
        spine = Spine.of_events(log, self._scored)
        found = vectors(self._service, log, spine if len(wanted) == len(day_of) else spine.take(wanted), freshness=True)
        assert found.status is not None and found.age_s is not None, "vectors(…, freshness=True) gives status and age"
        features = found.features[:, self._names(place)]
        for day in np.unique(day_of[wanted]).tolist():
            mine, kept = np.flatnonzero(day_of[wanted] == day), self._kept[place][day]
            kept.places.append(rows[self._scored][wanted[mine]])
            kept.features.append(features[mine].ravel())
            kept.status.append(found.status[mine, place])
            kept.age_s.append(found.age_s[mine, place])

    def _names(self, place: int) -> list[int]:
        """Columns of a unit's features."""
        mine = {item.name for item in self._service.units[place][2].features}
        return [column for column, name in enumerate(self._service.names) if name in mine]


def _buckets(keys: Ints, count: int) -> npt.NDArray[np.int16]:
    """(n,) which bucket each key is in; rows that name none are in the first, and see nothing there."""
    spread = (keys.astype(np.uint64) * SPREAD >> np.uint64(33)) % np.uint64(count)
    return np.where(keys == NULL, 0, spread).astype(np.int16)
