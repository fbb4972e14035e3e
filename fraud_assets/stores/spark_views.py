"""Feature views computed by a Spark cluster from the lake's files, and handed back a day at a time.

The cluster reads the lake itself: its executors need the project's packages, and the lake's address must mean the
same there (a shared folder, or an object store for which the cluster has Hadoop's connector).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812  # as everybody calls it
from pyspark.sql.pandas.types import from_arrow_schema

from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.spark import PLACE, Decoded, Recipe, spark_vectors
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import Source
from fraud_assets.stores.feature_tables import DAY_MS, DayOfView, range_of, row_columns
from fraud_assets.stores.frames import columns_from_arrow, needed_columns
from fraud_assets.stores.history import HistoryReader, view_service
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.stores.log_order import in_log_order, without_replayed

PROJECT = Path(__file__).resolve().parents[2]
# Of the lake's compressed files, in a partition of a shuffle: a few hundred thousand events and their values.
PARTITION_BYTES = 32 << 20
# Rows of an Arrow batch on its way between Spark and the kernels.
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class ViewService:
    """A view's service, made anew in each executor's process from the catalogue's name; equal ones are made once."""

    registry: Callable[[], Registry]
    view: str
    scored: Source

    def __call__(self) -> ServicePlan:
        plan = _plan(self.registry)
        return view_service(plan, plan.registry.view(self.view), self.scored)


@cache
def _plan(registry: Callable[[], Registry]) -> EnginePlan:
    return EnginePlan(registry())


@dataclass(frozen=True)
class SparkExecution:
    """Computes views on a cluster. registry: the catalogue, a function that executors can import.

    master: as Spark names it, `local[2]`, `local-cluster[2,1,1024]` or `spark://host:7077`. Raises Py4JJavaError, with
    the executor's own error in it.
    """

    master: str
    registry: Callable[[], Registry]

    def __call__(self, reader: HistoryReader, service: ServicePlan, days: Sequence[str]) -> Iterator[DayOfView]:
        """The days one after another: none but the one at hand is in this process's memory."""
        spark, scored = session(self.master), service.service.scored
        files = {source: [info for _, info in reader.lake.files(source.table)] for source in service.sources}
        size = sum(info.size for found in files.values() for info in found)
        recipe = Recipe(
            ViewService(self.registry, service.service.name, scored),
            in_log_columns,
            max(spark.sparkContext.defaultParallelism, size // PARTITION_BYTES),
            tuple(row_columns(scored)),
            *range_of(days),
        )
        tables = {source.name: _table(spark, reader.lake, source, found) for source, found in files.items()}
        expected = _counts(tables[scored.name], recipe)
        found = spark_vectors(recipe, tables).persist(StorageLevel.DISK_ONLY)
        try:
            for day in days:
                start = start_ms(day)
                rows = found.where((F.col("event_time_ms") >= start) & (F.col("event_time_ms") < start + DAY_MS))
                yield DayOfView(day, in_log_order(rows.toArrow()), expected.get(start // DAY_MS, 0))
        finally:
            found.unpersist()


@cache
def session(master: str) -> SparkSession:
    """One for all views of a run; Spark ends with this process. The executors' Python is this one, with the project on its path."""
    builder = (
        SparkSession.builder.master(master)
        .appName("fraud features")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.executorEnv.PYTHONPATH", str(PROJECT))
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", BATCH_ROWS)
        .config("spark.ui.showConsoleProgress", "false")
    )
    if master.startswith("local"):
        # Nobody else's machine is part of it.
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.ui.enabled", "false")
    spark = builder.getOrCreate()
    # Otherwise that of a variable of the environment, or whichever `python3` is on an executor's path.
    spark.sparkContext.pythonExec = sys.executable
    return spark


def in_log_columns(plan: EnginePlan, source: Source, rows: pa.Table) -> Decoded:
    """A shuffle keeps no order, and brings both copies of a row that a crash left in two files to one place."""
    ordered = without_replayed(in_log_order(rows))
    return Decoded(columns_from_arrow(plan, source, ordered), ordered)


def _table(spark: SparkSession, lake: Lake, source: Source, files: Sequence[pafs.FileInfo]) -> DataFrame:
    """A source's rows in these files of the lake, but those marked as duplicates."""
    schema = lake.schema(source.table)
    columns = list(dict.fromkeys([*row_columns(source), *needed_columns(source)]))
    read = from_arrow_schema(pa.schema([schema.field(name) for name in columns]))
    paths = [_as_hadoop_says(address) for address in map(lake.address, files)]
    rows = spark.read.schema(read).parquet(*paths) if paths else spark.createDataFrame([], read)
    return rows.where(~F.col("is_duplicate"))


def _counts(scored: DataFrame, recipe: Recipe) -> dict[int, int]:
    """Rows by day since 1970, each place of the log once: by one reading of the files, and without the engine."""
    time = F.col("event_time_ms")
    asked = scored.where((time >= recipe.from_ms) & (time < recipe.to_ms))
    days = asked.select(*PLACE, F.floor(time / DAY_MS).alias("day")).distinct().groupBy("day").count()
    return {row["day"]: row["count"] for row in days.collect()}


def _as_hadoop_says(address: str) -> str:
    return address.replace("s3://", "s3a://", 1) if "://" in address else f"file://{address}"
