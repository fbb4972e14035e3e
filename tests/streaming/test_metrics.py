"""A worker's own port: had when it is free, waited for when it is not."""

import json
import socket
import struct
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.testing import capture_logs

from deploy.local.ports import LOOPBACK, held_ports
from streaming import metrics
from streaming.edges.lag import lag_gauge
from tests.streaming.live import wait_for


@contextmanager
def taken() -> Iterator[int]:
    """A port that the system gave to an outgoing connection."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT after it
        port: int = client.getsockname()[1]
        yield port


def is_scraped(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return b"fraud_worker_epoch_valid" in answer.read()
    except OSError:
        return False


def test_a_taken_port_is_said_and_waited_for_beside_the_work() -> None:
    """A process that ended over its metrics would leave every event unfolded, and be started again for nothing."""
    with taken() as port, capture_logs() as said:
        metrics.serve(LOOPBACK, port, retry_s=0.05)
        assert not is_scraped(port)
    assert [line["event"] for line in said] == ["metrics_port_taken"]
    assert said[0]["port"] == port

    wait_for(lambda: is_scraped(port), "the port is free again")


def test_a_free_port_is_served_at_once() -> None:
    with held_ports(1) as [port]:
        metrics.serve(LOOPBACK, port)
        assert is_scraped(port)


def statistics(**lags: tuple[int, int, int]) -> str:
    """What librdkafka says of topic `t`: of partition `pN` its lag, the log's end and what was taken."""
    partitions = {
        name.removeprefix("p"): {"fetch_state": "active", "consumer_lag": lag, "hi_offset": end, "app_offset": taken}
        for name, (lag, end, taken) in lags.items()
    }
    return json.dumps(
        {"name": "worker", "topics": {"t": {"age": 1, "partitions": {**partitions, "-1": {"consumer_lag": -1}}}}}
    )


def lags(role: str) -> dict[str, float]:
    return {
        sample.labels["partition"]: sample.value
        for sample in next(iter(metrics.LAG.collect())).samples
        if sample.labels["role"] == role
    }


def test_the_lag_is_of_the_partitions_that_are_held_and_known() -> None:
    """Behind what is committed; before anything is, behind what was taken; of one given up nothing is said any more."""
    count = lag_gauge("test")

    count(statistics(p0=(7, 10, 3), p1=(-1, 10, 4), p2=(-1, -1001, -1001)))
    assert lags("test") == {"0": 7, "1": 6}

    count(statistics(p0=(0, 10, 10)))
    assert lags("test") == {"0": 0}

    count(json.dumps({"topics": {}}))
    assert lags("test") == {}
