"""What fraud there was: counts and money, by time, amount and what else is mapped. Money is in the report's minor units."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import polars as pl

from fraud_assets.audit.history import Audited, entity_fields, group_fields, shown_id, timezone_of
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.training.money import euro_cents

AMOUNT_EDGES = (10, 25, 50, 100, 250, 500, 1_000)  # major units
AMOUNT_LABELS = (
    f"under {AMOUNT_EDGES[0]}",
    *(f"{low} to {high}" for low, high in pairwise(AMOUNT_EDGES)),
    f"{AMOUNT_EDGES[-1]} and more",
)
SHOWN_GROUPS = 24  # hours; of countries the ones with the most fraud money
SHOWN_ENTITIES = 10

Row = dict[str, Any]


def with_money(audited: Audited, rates: Mapping[str, float]) -> pl.DataFrame:
    """The rows with `money`: euro cents where currencies are known. Raises UnknownCurrency."""
    rows = audited.rows
    if "currency" not in rows.columns:
        return rows.with_columns(pl.col("amount_minor").cast(pl.Float64).alias("money"))
    cents = euro_cents(rows["amount_minor"].to_numpy(), rows["currency"].to_list(), rates)
    return rows.with_columns(pl.Series("money", cents))


def pattern_of(audited: Audited, rows: pl.DataFrame, key: TokenKey) -> Row:
    """rows: `with_money`."""
    local = pl.from_epoch("event_time_ms", time_unit="ms").dt.convert_time_zone(timezone_of(audited.mapping))
    band = pl.Series(AMOUNT_EDGES).search_sorted(rows["money"] / 100, side="right")
    framed = rows.with_columns(
        local.dt.strftime("%Y-%m").alias("month"),
        local.dt.strftime("%H").alias("hour"),
        pl.Series("amount", [AMOUNT_LABELS[place] for place in band]),
    )
    return {
        **totals(rows),
        "by": {name: by(framed, name) for name in ("month", "hour", "amount", *group_fields(audited))},
        "repeat_offenders": {name: _offenders(rows, name, key) for name in entity_fields(audited)},
    }


def _measures() -> list[pl.Expr]:
    fraud = pl.col("is_fraud").fill_null(value=False)
    return [
        pl.len().alias("payments"),
        pl.col("is_fraud").count().alias("judged"),
        fraud.sum().alias("frauds"),
        pl.col("money").sum().alias("money_minor"),
        pl.col("money").filter(fraud).sum().alias("fraud_money_minor"),
    ]


def totals(rows: pl.DataFrame) -> Row:
    return _with_share(rows.select(_measures()).row(0, named=True))


def by(rows: pl.DataFrame, name: str) -> list[Row]:
    """Time and amount in their order; other values by the fraud money they carry, and the most frequent where there is none."""
    found = rows.group_by(pl.col(name).alias("value")).agg(*_measures(), pl.col("money").min().alias("least"))
    if name == "amount":
        found = found.sort("least")
    elif name in ("month", "hour"):
        found = found.sort("value")
    else:
        found = found.sort(["fraud_money_minor", "payments", "value"], descending=[True, True, False]).head(
            SHOWN_GROUPS
        )
    return [_with_share(row) for row in found.drop("least").rows(named=True)]


def _with_share(row: Row) -> Row:
    return {**row, "fraud_share": share(row["frauds"], row["judged"])}


def share(count: int, of: int) -> Row | None:
    """A share with its 95 % interval (Wilson); null of nothing."""
    from scipy.stats import binomtest  # half a second, for which nobody who misspelt an option should wait

    if not of:
        return None
    interval = binomtest(count, of).proportion_ci(method="wilson")
    return {"value": count / of, "low": float(interval.low), "high": float(interval.high)}


def _offenders(rows: pl.DataFrame, name: str, key: TokenKey) -> list[Row]:
    """Who had more than one fraud, the dearest first."""
    found = rows.filter(pl.col(name).is_not_null()).group_by(pl.col(name).alias("entity")).agg(_measures())
    found = found.filter(pl.col("frauds") > 1).sort(["fraud_money_minor", "entity"], descending=[True, False])
    return list(_hidden(found.head(SHOWN_ENTITIES).rows(named=True), key))


def _hidden(rows: Iterable[Row], key: TokenKey) -> Iterable[Row]:
    for row in rows:
        kept = {name: row[name] for name in ("payments", "frauds", "fraud_money_minor")}
        yield {"entity": shown_id(row["entity"], key), **kept}
