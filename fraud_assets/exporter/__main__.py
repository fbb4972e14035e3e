"""`python -m fraud_assets.exporter`: Dagster's runs, checks and reports at /metrics.

It reads the storage of the instance in DAGSTER_HOME and writes nothing there; the webserver and the daemon may be away.
"""

import argparse
import signal
import threading
import time

import dagster as dg
from prometheus_client import CollectorRegistry, start_http_server

from fraud_assets.definitions import defs
from fraud_assets.exporter.exporter import Exporter, Watched

PORT = 9108
INTERVAL_S = 15.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fraud_assets.exporter", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument(
        "--interval", type=float, default=INTERVAL_S, metavar="SECONDS", help="between two looks at Dagster's storage"
    )
    chosen = parser.parse_args()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    registry = CollectorRegistry()
    with dg.DagsterInstance.get() as instance:
        exporter = Exporter(instance, Watched.of(defs()), registry, time.time)
        exporter.look()
        start_http_server(chosen.port, addr=chosen.host, registry=registry)
        while not stopping.wait(chosen.interval):
            exporter.look()


if __name__ == "__main__":
    main()
