"""Made-up payments for benchmarks: skewed keys, times in order, amounts with a tail."""

import numpy as np

from fraud_assets.engine.plan import EnginePlan, Ints, ServicePlan
from fraud_assets.engine.prepare import Columns
from fraud_assets.features.catalogue.sources import ACCOUNT, TRANSACTIONS
from fraud_assets.features.expressions import col
from fraud_assets.features.language import FeatureService, FeatureView, count, least, most, std, total
from fraud_assets.features.registry import Registry
from fraud_assets.features.windows import DAY_MS

START_MS = 1_700_000_000_000
DAYS = 90
SEED = 20_261_122


def payments(rows: int, keys: int, skew: float) -> tuple[Ints, Ints, Ints]:
    """(key, time ms, amount minor), each (rows,): key k drawn with weight 1 / (k + 1) ** skew, times ascending."""
    rng = np.random.default_rng(SEED)
    weights = 1.0 / np.arange(1, keys + 1) ** skew
    key = np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(rows)).astype(np.int64)
    time = np.sort(rng.integers(START_MS, START_MS + DAYS * DAY_MS, rows))
    amount = np.minimum(np.exp(rng.normal(8.5, 1.0, rows)).astype(np.int64) + 1, 10**9)
    return np.minimum(key, keys - 1), time, amount


def thirty_windows() -> ServicePlan:
    """Six windows of count, sum, min, max and std of one column."""
    amount = col("amount_minor")
    view = FeatureView(
        name="thirty",
        entity=ACCOUNT,
        source=TRANSACTIONS,
        aggregates=(count(), total(amount), least(amount), most(amount), std(amount)),
    )
    service = FeatureService(name="thirty", scored=TRANSACTIONS, views=(view,), unseen=("outcome",))
    return ServicePlan(EnginePlan(Registry((view,), (service,))), service)


def columns_of(key: Ints, time: Ints, amount: Ints) -> Columns:
    """The payments as transactions whose other fields nothing reads."""
    empty, order = np.zeros(len(key), np.int64), np.arange(len(key), dtype=np.int64)
    fields = dict.fromkeys(TRANSACTIONS.fields, empty)
    fields |= {"event_time_ms": time, "account_id": key, "amount_minor": amount, "transaction_id": order}
    return Columns(TRANSACTIONS, fields, time, empty, order)
