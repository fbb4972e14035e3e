"""The batch execution on a Spark cluster: rows meet those of their entity, then the same kernels run.

Nothing of a feature is written again. Spark shuffles the rows of every source and of the scored one by an
entity's key, and each partition is to the engine a log of its own: a window of a key looks at rows of that key
alone, so the values are those of one machine, bit for bit. A view of two entities is shuffled once for each.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # as everybody calls it
from pyspark.sql import types as T  # noqa: N812  # the same

from fraud_assets.engine.batch import Log, Spine, vectors
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.prepare import Columns
from fraud_assets.features.layout import Unit
from fraud_assets.features.sources import Source

SOURCE = "source"
# Where a row lies in its log: what rows of two shuffles are joined by.
PLACE = ("source_topic", "source_partition", "source_offset")


@dataclass(frozen=True)
class Decoded:
    """A source's rows of one partition. rows: in the order of `columns`, which is log order."""

    columns: Columns
    rows: pa.Table


@dataclass(frozen=True)
class Recipe:
    """What an executor makes of a partition. Functions are named, not sent: a cluster has the project's code.

    service: makes the plan, once a process. decode: a source's rows, in any order, as the engine's columns in log
    order. partitions: of each shuffle. kept: columns of a scored row that stay beside its values. from_ms, to_ms: scored rows are those with event
    time in [from_ms, to_ms); what came before is only looked at.
    """

    service: Callable[[], ServicePlan]
    decode: Callable[[EnginePlan, Source, pa.Table], Decoded]
    partitions: int
    kept: tuple[str, ...]
    from_ms: int
    to_ms: int


def spark_vectors(recipe: Recipe, tables: Mapping[str, DataFrame]) -> DataFrame:
    """A row per scored event: the columns kept, its features, and by entity the view's status and age; in no order.

    tables: rows of each source of the service by the source's name, with every column that `decode` reads. service: of
    one view. Columns of an entity are `view_status_<entity>` (int8) and `view_age_s_<entity>` (float32).
    """
    service = recipe.service()
    beside = [name for name in recipe.kept if name not in PLACE]
    first, *others = [_unit_vectors(recipe, service, place, tables) for place in range(len(service.units))]
    return reduce(lambda left, right: left.join(right.drop(*beside), on=list(PLACE)), others, first)


def _unit_vectors(recipe: Recipe, service: ServicePlan, place: int, tables: Mapping[str, DataFrame]) -> DataFrame:
    """The values of one unit, by a shuffle of the sources that it looks at and of the scored rows."""
    group, _, unit = service.units[place]
    keys = group.group.entity.keys
    looked_at = {service.service.scored.name, *(source.name for source in unit.sources)}
    parts = [
        _tagged(tables[name] if name in looked_at else tables[name].where(F.lit(False)), name, keys)
        for name in sorted(tables)
    ]
    together = reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), parts)
    kept = [tables[service.service.scored.name].schema[name] for name in recipe.kept]
    schema = T.StructType([*kept, *(T.StructField(name, kind) for name, kind in _columns(service, place))])
    shuffled = together.repartition(recipe.partitions, *(F.col(f"key_{key}") for key in keys))
    return shuffled.mapInArrow(_Partition(recipe, place), schema)


def _tagged(table: DataFrame, name: str, keys: Sequence[str]) -> DataFrame:
    """A source's rows in a column of their own, beside the keys that all sources share."""
    return table.select(
        F.lit(name).alias(SOURCE),
        *((F.col(key) if key in table.columns else F.lit(None)).cast("string").alias(f"key_{key}") for key in keys),
        F.struct(*table.columns).alias(f"rows_{name}"),
    )


def _columns(service: ServicePlan, place: int) -> list[tuple[str, T.DataType]]:
    """What a unit's shuffle gives of each row, besides the columns kept."""
    entity = service.units[place][0].name
    return [
        *((feature, T.FloatType()) for feature in _features(service, place)),
        (f"view_status_{entity}", T.ByteType()),
        (f"view_age_s_{entity}", T.FloatType()),
    ]


def _features(service: ServicePlan, place: int) -> list[str]:
    unit: Unit = service.units[place][2]
    mine = {item.name for item in unit.features}
    return [name for name in service.names if name in mine]


@cache
def _service(make: Callable[[], ServicePlan]) -> ServicePlan:
    """Compiled once in an executor's process, however many partitions it is given."""
    return make()


@dataclass(frozen=True)
class _Partition:
    """The engine over the rows of one partition."""

    recipe: Recipe
    place: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found = list(batches)
        if not found:
            return
        service = _service(self.recipe.service)
        rows = pa.Table.from_batches(found)
        decoded = {source.name: self._decoded(service.engine, source, rows) for source in service.sources}
        scored = decoded[service.service.scored.name]
        time = scored.columns.time
        chosen = np.flatnonzero((time >= self.recipe.from_ms) & (time < self.recipe.to_ms)).astype(np.int64)
        log = Log(service.engine, [item.columns for item in decoded.values()])
        spine = Spine.of_events(log, service.service.scored.name).take(chosen)
        # One thread each: a cluster's cores are shared out among its tasks.
        values = vectors(service, log, spine, threads=1, freshness=True)
        assert values.status is not None and values.age_s is not None
        kept = scored.rows.select(list(self.recipe.kept)).take(pa.array(chosen))
        mine = [service.names.index(name) for name in _features(service, self.place)]
        columns = [
            *kept.columns,
            *(pa.array(np.ascontiguousarray(values.features[:, column])) for column in mine),
            pa.array(np.ascontiguousarray(values.status[:, self.place])),
            pa.array(np.ascontiguousarray(values.age_s[:, self.place])),
        ]
        names = [*self.recipe.kept, *(name for name, _ in _columns(service, self.place))]
        yield from pa.table(columns, names).to_batches()

    def _decoded(self, plan: EnginePlan, source: Source, rows: pa.Table) -> Decoded:
        mine = rows.filter(pc.equal(rows[SOURCE], source.name))[f"rows_{source.name}"]
        schema = pa.schema(list(mine.type))
        parts = [pa.RecordBatch.from_struct_array(chunk) for chunk in mine.chunks]
        return self.recipe.decode(plan, source, pa.Table.from_batches(parts, schema))
