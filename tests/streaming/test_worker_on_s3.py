"""The worker with its lake behind an S3-compatible server: killed on the way, and what DuckDB and Polars then read."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from deploy.local.services import S3
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from fraud_assets.contracts import topics
from fraud_assets.contracts.codec import encode
from fraud_assets.stores.lake import Lake
from streaming import router
from tests.streaming.events import transaction
from tests.streaming.live import RAW, Log, Worker, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

N = 120


def send(log: Log, numbers: range) -> None:
    for n in numbers:
        event = transaction(transaction_id=f"t{n}", account_id=f"a{n % 7}", amount_minor=n)
        log.send(topics.TRANSACTIONS.name, event.account_id.encode(), encode(event))
    log.flush()


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """What a worker has written of N payments, which was killed between two thirds of them."""
    with running(["valkey", "broker", S3], tmp_path, {"FRAUD_LAKE_FLUSH_S": "0.2"}) as stack:
        for name in S3.provides(stack.context):
            monkeypatch.setenv(name, stack.env[name])
        ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        log, worker = Log(stack.env["KAFKA_BOOTSTRAP_SERVERS"]), Worker(stack.env, tmp_path / "worker.log")
        found = Lake(stack.env["FRAUD_LAKE_URI"])
        assert worker.init_epoch().returncode == 0
        worker.start()
        try:
            send(log, range(N // 2))
            wait_for(lambda: found.scan("transactions").num_rows > 0, "some rows are in the lake")
            worker.kill()
            send(log, range(N // 2, N))
            worker.start()
            wait_for(lambda: log.has_caught_up(router.GROUP, RAW), "the router has committed everything")
            assert worker.stop() == 0
        finally:
            if worker.process is not None and worker.process.poll() is None:
                worker.kill()
        yield found


def test_every_payment_is_in_the_objects_once_whoever_reads_them(lake: Lake) -> None:
    once = Counter(f"t{n}" for n in range(N))

    with duckdb.connect() as connection:
        connection.register("transactions", lake.dataset("transactions"))
        by_duckdb = connection.execute("SELECT transaction_id FROM transactions").fetchall()
    # Said, though the environment says it too: Polars keeps its clients by their options, and this process may have had another server.
    here = {"aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
    by_polars = pl.scan_parquet(lake.glob("transactions"), storage_options=here).select("transaction_id").collect()

    assert Counter(lake.scan("transactions")["transaction_id"].to_pylist()) == once
    assert Counter(name for (name,) in by_duckdb) == once
    assert Counter(by_polars["transaction_id"].to_list()) == once
