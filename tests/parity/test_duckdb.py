"""A second, independent oracle: SQL in DuckDB over 100 000 of the Handbook's payments.

Some payments arrive late, a few by more than the allowed lateness, so both floors of the window rule
decide. The SQL joins every payment with all that were known of its key; no window function, no tiles.
"""

from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pytest

from fraud_assets.engine.batch import Log, Spine, vectors
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.prepare import Columns, mix_column
from fraud_assets.features.catalogue.handbook import AMOUNT, CUSTOMER, TERMINAL, TRANSACTIONS
from fraud_assets.features.expressions import col
from fraud_assets.features.language import FeatureService, FeatureView, count, distinct, least, mean, most, std, total
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import Entity
from fraud_assets.features.windows import MIN_LATENESS_MS, Window, days, hours
from tests.parity import tally

ROWS = 100_000
WINDOWS = (hours(1), hours(24), days(7))
CAPS = {"customer": 8, "terminal": 16}

PAYMENTS = """
    SELECT
        epoch_ms(TX_DATETIME) AS event_time_ms,
        TRANSACTION_ID::BIGINT AS transaction_id,
        CUSTOMER_ID::BIGINT AS customer_id,
        TERMINAL_ID::BIGINT AS terminal_id,
        round(TX_AMOUNT * 100)::BIGINT AS amount_minor,
        -- One payment in eight is late: by seconds, by minutes, or by more than the lateness allows.
        epoch_ms(TX_DATETIME) + CASE hash(TRANSACTION_ID) % 32 WHEN 0 THEN 5000 WHEN 1 THEN 400000 WHEN 2 THEN 599999
            WHEN 3 THEN 90000000 ELSE 0 END AS arrival_ms
    FROM read_parquet(?)
    ORDER BY TX_DATETIME, TRANSACTION_ID
    LIMIT ?
"""


def view(entity: Entity, other: str) -> FeatureView:
    return FeatureView(
        name=f"{entity.name}_view",
        entity=entity,
        source=TRANSACTIONS,
        aggregates=(
            count(windows=WINDOWS),
            *(op(AMOUNT, windows=WINDOWS) for op in (total, mean, least, most, std)),
            distinct(col(other), windows=WINDOWS, cap=CAPS[entity.name]),
        ),
    )


VIEWS = (view(CUSTOMER, "terminal_id"), view(TERMINAL, "customer_id"))
REGISTRY = Registry(VIEWS, (FeatureService(name="service", scored=TRANSACTIONS, views=VIEWS),))


@pytest.fixture(scope="module")
def lake(handbook_dir: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    path = str(handbook_dir / "transactions.parquet")
    connection.execute(f"CREATE TABLE payments AS {PAYMENTS}", [path, ROWS])
    connection.execute(
        "CREATE TABLE log AS SELECT *, row_number() OVER (ORDER BY arrival_ms, transaction_id) AS rank FROM payments"
    )
    return connection


@pytest.fixture(scope="module")
def batch(lake: duckdb.DuckDBPyConnection) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Names and float32 vectors of every payment, in log order."""
    plan = EnginePlan(REGISTRY)
    table = lake.execute("SELECT * EXCLUDE (rank) FROM log ORDER BY rank").fetchnumpy()
    fields = {name: np.array(table[name], np.int64) for name in table if name != "arrival_ms"}
    for name in ("transaction_id", "customer_id", "terminal_id"):
        mix_column(fields[name])  # identifiers are hashes to the engine, and a sample of them must be one of all
    fields["schema_version"] = np.ones(ROWS, np.int64)
    tp = np.full(ROWS, plan.topic_code("import.handbook_transactions.v1", 0), np.int64)
    columns = Columns(TRANSACTIONS, fields, np.asarray(table["arrival_ms"], np.int64), tp, np.arange(ROWS))
    log, service = Log(plan, [columns]), ServicePlan(plan, REGISTRY.service("service"))
    return service.names, vectors(service, log, Spine.of_events(log, TRANSACTIONS.name)).features


def window_sql(entity: Entity, other: str, window: Window) -> str:
    """Exact integers of one window of every payment that knows something of its key."""
    key, w, h, late = entity.keys[0], window.length_ms, window.tile_ms, MIN_LATENESS_MS
    return f"""
        WITH known AS (
            SELECT r.rank, r.event_time_ms AS t, e.event_time_ms, e.amount_minor, e.{other} AS other,
                max(e.event_time_ms) OVER (PARTITION BY r.rank) AS newest
            FROM log r JOIN log e ON e.{key} = r.{key} AND e.rank < r.rank
        ), marked AS (
            SELECT *, event_time_ms // {h} >= greatest((t - {w}) // {h}, (newest - {w} - {late}) // {h}) AS inside FROM known
        )
        SELECT rank, count(*) FILTER (inside) AS n, sum(amount_minor) FILTER (inside) AS total,
            min(amount_minor) FILTER (inside) AS least, max(amount_minor) FILTER (inside) AS most,
            sum(amount_minor::HUGEINT * amount_minor) FILTER (inside) AS squares,
            count(DISTINCT other) FILTER (inside) AS others
        FROM marked GROUP BY rank ORDER BY rank
    """  # built from the declarations above


def expected_of(found: dict[str, np.ndarray]) -> dict[str, npt.NDArray[np.float64]]:
    """The contract's one rounding, of SQL's exact integers: a division, a root."""
    n, total_, squares = (np.ma.filled(found[name], 0).astype(np.float64) for name in ("n", "total", "squares"))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "txn_count": n,
            "amount_minor_sum": total_,
            "amount_minor_mean": total_ / n,
            "amount_minor_min": np.ma.filled(found["least"].astype(np.float64), np.nan),
            "amount_minor_max": np.ma.filled(found["most"].astype(np.float64), np.nan),
            "amount_minor_std": np.sqrt(n * squares - total_ * total_) / n,
        }


@pytest.mark.data
@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.label)
@pytest.mark.parametrize(
    ("entity", "other"), [(CUSTOMER, "terminal_id"), (TERMINAL, "customer_id")], ids=["customer", "terminal"]
)
def test_sql_over_real_payments_gives_the_same_bits(
    lake: duckdb.DuckDBPyConnection,
    batch: tuple[tuple[str, ...], npt.NDArray[np.float32]],
    entity: Entity,
    other: str,
    window: Window,
) -> None:
    """Count, sum, mean, min, max, std and distinct of every payment; a key never seen before is null."""
    names, features = batch
    found = lake.execute(window_sql(entity, other, window)).fetchnumpy()
    rows = np.asarray(found["rank"]) - 1
    assert 0.5 * ROWS < len(rows) < ROWS

    for name, values in expected_of(found).items():
        column = features[:, names.index(f"{entity.name}_{name}_{window.label}")]
        np.testing.assert_array_equal(column[rows], values.astype(np.float32), err_msg=name)
        assert np.isnan(np.delete(column, rows)).all()
        tally.count("values by SQL", len(rows))
    assert_distinct(features[rows, names.index(f"{entity.name}_distinct_{other.removesuffix('_id')}s_{window.label}")], np.asarray(found["others"]), entity)  # fmt: skip


def assert_distinct(column: npt.NDArray[np.float32], truth: np.ndarray, entity: Entity) -> None:
    """Exact up to the cap; past it at least cap + 1, and right on the average."""
    cap = CAPS[entity.name]
    few = truth <= cap
    np.testing.assert_array_equal(column[few], truth[few].astype(np.float32))
    assert (column[~few] >= cap + 1).all()
    if (~few).sum() > 1000:
        assert abs(float((column[~few] / truth[~few]).mean()) - 1) < 0.1
    tally.count("values by SQL", len(truth))


@pytest.mark.data
def test_both_floors_decide_in_this_data(lake: duckdb.DuckDBPyConnection) -> None:
    """Late payments are scored behind what is known already; without them the second floor would be idle."""
    (behind,) = lake.execute(
        "SELECT count(*) FROM log r WHERE EXISTS (SELECT 1 FROM log e WHERE e.customer_id = r.customer_id"
        f" AND e.rank < r.rank AND e.event_time_ms > r.event_time_ms + {MIN_LATENESS_MS})"
    ).fetchone() or (0,)
    assert behind > 500
