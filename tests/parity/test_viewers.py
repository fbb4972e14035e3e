"""Viewers by SQL: who an expression with a stand-in counts, told by DuckDB's coalesce over plain texts.

The random registries compare such expressions with the naive oracle; here neither hashes nor our oracle take part.
"""

import random

import duckdb
import numpy as np

from fraud_assets.contracts.events import Activity, Transaction
from fraud_assets.engine.batch import Log, Spine, vectors
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.prepare import columns_from_events
from fraud_assets.features.catalogue.named import EVENT_REALTIME_METRICS
from fraud_assets.features.catalogue.sources import ACTIVITY, TRANSACTIONS
from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry
from fraud_assets.features.windows import HOUR_MS, MINUTE_MS
from tests.parity import tally
from tests.streaming.events import activity, transaction

START_MS = 1_790_856_000_000
CAP = 32

DISTINCT_VIEWERS = f"""
    WITH known AS (
        SELECT s.place, s.t, a.*, max(a.happened) OVER (PARTITION BY s.place) AS newest
        FROM scored s JOIN activity a ON a.event = s.event AND a.happened < s.t
    )
    SELECT place, count(DISTINCT coalesce('account ' || account, 'device ' || device))
        FILTER (kind = 'view' AND happened // 5000 >= greatest((t - {5 * MINUTE_MS}) // 5000, (newest - {15 * MINUTE_MS}) // 5000))
    FROM known GROUP BY place ORDER BY place
"""


def some_activity(rng: random.Random, count: int) -> list[Activity]:
    """Three hours at five events; half the viewers are guests, and a guest's device may be called as an account is."""
    times = sorted(START_MS + rng.randrange(3 * HOUR_MS) for _ in range(count))
    return [
        activity(
            activity_id=f"v{n}", event_time_ms=time, kind=rng.choice(["view"] * 9 + ["event_closed"]), event_id=f"e{rng.randrange(5)}",
            account_id=rng.choice([None, str(rng.randrange(25))]), device_id=rng.choice([None, *(str(rng.randrange(25)) for _ in "ab")]),
        )
        for n, time in enumerate(times)
    ]  # fmt: skip


def some_payments(rng: random.Random, count: int) -> list[Transaction]:
    return [
        transaction(event_time_ms=START_MS + HOUR_MS + rng.randrange(2 * HOUR_MS), event_id=f"e{rng.randrange(5)}")
        for _ in range(count)
    ]


def test_sql_counts_the_same_viewers_account_or_device() -> None:
    """Exact up to the cap; neither a nameless view nor another activity is a viewer."""
    rng = random.Random(3)
    seen, scored = some_activity(rng, 4_000), some_payments(rng, 800)

    views = (EVENT_REALTIME_METRICS,)
    plan = EnginePlan(
        Registry(views, (FeatureService(name="s", scored=TRANSACTIONS, views=views, unseen=("outcome",)),))
    )
    log = Log(plan, [columns_from_events(plan, ACTIVITY, seen, [("activity.v1", 0, n) for n in range(len(seen))],
                                         [event.event_time_ms for event in seen])])  # fmt: skip
    rows = columns_from_events(plan, TRANSACTIONS, scored, [("transactions.v1", 0, n) for n in range(len(scored))],
                               [event.event_time_ms for event in scored])  # fmt: skip
    service = ServicePlan(plan, plan.registry.service("s"))
    found = vectors(service, log, Spine.at_times(log, rows, rows.time)).features[
        :, service.names.index("concurrent_viewers")
    ]

    database = duckdb.connect()
    database.execute("CREATE TABLE activity (happened BIGINT, kind TEXT, event TEXT, account TEXT, device TEXT)")
    database.executemany("INSERT INTO activity VALUES (?, ?, ?, ?, ?)", [
        (a.event_time_ms, a.kind.value, a.event_id, a.account_id, a.device_id) for a in seen])  # fmt: skip
    database.execute("CREATE TABLE scored (place INTEGER, t BIGINT, event TEXT)")
    database.executemany("INSERT INTO scored VALUES (?, ?, ?)", [(n, s.event_time_ms, s.event_id) for n, s in enumerate(scored)])  # fmt: skip
    truth = np.array([viewers for _, viewers in database.execute(DISTINCT_VIEWERS).fetchall()])  # fmt: skip

    few = truth <= CAP
    assert few.sum() > 400 and truth.max() > 10
    np.testing.assert_array_equal(found[few], truth[few].astype(np.float32))
    tally.count("values by SQL", int(few.sum()))
