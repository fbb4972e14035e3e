"""Thirty window aggregates of a million payments, beside DuckDB's RANGE windows and Polars' rolling.

Same rows, same windows (strictly earlier events), two threads each, from each side's own columns to results in memory:
a row for each payment, in the payments' order. DuckDB and Polars keep the memory of their last run; ours is given it. Once
over 50,000 skewed keys and once over 60 hot ones, where the number of rows in a window decides.
DuckDB and Polars end a window exactly at t - w where ours rounds its tail to a tile; counts are
compared before anything is timed, and may differ by the rows of one tile.
"""

import os
from functools import partial

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import duckdb
import numpy as np
import polars as pl

from benchmarks.measure import THREADS, medians_s, report
from benchmarks.synthetic import columns_of, payments, thirty_windows
from fraud_assets.engine.batch import Log, Spine, Vectors, vectors
from fraud_assets.engine.prepare import Columns
from fraud_assets.features.windows import VELOCITY

ROWS = 1_000_000
# Name, keys, skew, and how often DuckDB runs: it takes most of a minute over hot keys.
CASES = (("", 50_000, 0.7, 3), ("_hot", 60, 0.0, 1))


def ours(columns: Columns, out: np.ndarray) -> Vectors:
    log = Log(PLAN.engine, [columns])
    return vectors(PLAN, log, Spine.of_events(log, "transactions"), threads=THREADS, out=out)


def in_duckdb(db: duckdb.DuckDBPyConnection) -> None:
    aggregates = ", ".join(
        f"{call} OVER w{w.label} AS {name}_{w.label}"
        for w in VELOCITY
        for name, call in (
            ("n", "count(*)"),
            ("total", "sum(amount)"),
            ("low", "min(amount)"),
            ("high", "max(amount)"),
            ("sd", "stddev_pop(amount)"),
        )
    )
    windows = ", ".join(
        f"w{w.label} AS (PARTITION BY key ORDER BY time RANGE BETWEEN {w.length_ms} PRECEDING AND 1 PRECEDING)"
        for w in VELOCITY
    )
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE made AS SELECT row, time, key, {aggregates} FROM payments WINDOW {windows} ORDER BY row"
    )


def in_polars(frame: pl.DataFrame) -> pl.DataFrame:
    amount = pl.col("amount")
    ordered = frame.sort("key", "time")
    parts = [ordered.select("row", "key", "time")]
    for w in VELOCITY:
        aggregates = [
            pl.len().alias(f"n_{w.label}"), amount.sum().alias(f"total_{w.label}"), amount.min().alias(f"low_{w.label}"),
            amount.max().alias(f"high_{w.label}"), amount.std(ddof=0).alias(f"sd_{w.label}"),
        ]  # fmt: skip
        rolled = ordered.rolling("time", group_by="key", period=f"{w.length_ms}i", closed="left").agg(aggregates)
        parts.append(rolled.drop("key", "time"))
    return pl.concat(parts, how="horizontal").sort("row")


def agree(made: Vectors, db: duckdb.DuckDBPyConnection) -> float:
    """Share of rows whose 30-day count differs from DuckDB's by more than one tile's worth of rows (2 %)."""
    theirs = db.execute("SELECT n_30d FROM made ORDER BY row").fetchnumpy()["n_30d"]
    mine = made.features[:, PLAN.names.index("account_txn_count_30d")]
    return float(np.mean(np.abs(mine - theirs) > 2 + 0.02 * theirs))


def main() -> None:
    for suffix, keys, skew, duckdb_runs in CASES:
        key, time, amount = payments(ROWS, keys, skew)
        frame = pl.DataFrame({"key": key, "time": time, "amount": amount}).with_row_index("row")
        columns = columns_of(key, time, amount)
        out = np.empty((ROWS, len(PLAN.names)), np.float32)
        with duckdb.connect(config={"threads": THREADS}) as db:
            db.execute("CREATE TEMP TABLE payments AS SELECT * FROM frame")
            mine_s, duck_s, polars_s = medians_s(
                (partial(ours, columns, out), 12), (partial(in_duckdb, db), duckdb_runs), (partial(in_polars, frame), 4)
            )  # fmt: skip
            wrong = agree(ours(columns, out), db)
        distinct = len(np.unique(key))
        report(
            f"engine.windows_vs_duckdb{suffix}",
            mine_s,
            duck_s,
            duck_s / mine_s,
            "s",
            ROWS,
            keys=distinct,
            rows_apart=wrong,
        )
        report(f"engine.windows_vs_polars{suffix}", mine_s, polars_s, polars_s / mine_s, "s", ROWS, keys=distinct)


PLAN = thirty_windows()

if __name__ == "__main__":
    main()
