"""A scorer as an operator starts it: a process, a Valkey with an epoch, a broker, a model."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deploy.local.stack import running
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.stores.online import OnlineStore
from tests.api.processes import Running, scorers
from tests.models.made import train

# A key that is asked for more than its rate answers 429 and nothing behind it is tried.
RATE_PER_S = 10_000_000


@contextmanager
def one_scorer(folder: Path) -> Iterator[Running]:
    """Ready; stopped with its servers at the end."""
    with running(["valkey", "broker"], folder / "stack") as stack:
        store_url = stack.env["REDIS_URL"]
        store = OnlineStore.connect(store_url, registry())
        store.publish_epoch("fuzz", log="fuzz", resume={}, now_ms=time.time_ns() // 1_000_000)
        store.close()
        trained = train(registry().feature_names(FRAUD_SCORING))
        broker, rate = stack.env["KAFKA_BOOTSTRAP_SERVERS"], str(RATE_PER_S)
        with scorers(1, folder, trained, store_url, broker, FRAUD_API_RATE_PER_S=rate) as (scorer,):
            yield scorer


def resident_mb(scorer: Running) -> float:
    """What the process holds in memory; raises if it is gone."""
    return float(psutil.Process(scorer.process.pid).memory_info().rss) / 2**20
