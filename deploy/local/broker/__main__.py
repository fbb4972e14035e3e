"""`python -m deploy.local.broker --port 9092 --data var/broker`: the development broker as a process."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

import uvloop

from deploy.local.broker.server import DataDirectoryInUse, Listener, NotLoopback, broker

NOTICE = """\
==========================================================================================
 DEVELOPMENT BROKER, NOT KAFKA. One node on loopback that speaks Kafka's protocol.
 No replication, no authentication, no encryption, no transactions, no log compaction.
 An acknowledged batch survives a killed broker; a power cut may take the last {fsync_s:g} s.
 For anything but development and tests set KAFKA_BOOTSTRAP_SERVERS to real Apache Kafka.
==========================================================================================
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.broker", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address; others are refused")
    parser.add_argument("--port", type=int, default=9092, help="0 picks a free one")
    parser.add_argument("--data", type=Path, required=True, help="directory for logs and catalogue; made if missing")
    parser.add_argument("--fsync-interval-s", type=float, default=1.0, help="how often appended data is forced to disk")
    parser.add_argument(
        "--behind",
        type=_listener,
        metavar="PORT:PROXY_PORT",
        help="listen there too, and tell clients that come that way the port of the proxy before it",
    )
    return parser.parse_args()


def _listener(text: str) -> Listener:
    port, proxy_port = text.split(":")
    return Listener(int(port), int(proxy_port))


async def main() -> None:
    arguments = parse_arguments()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with broker(arguments.host, arguments.port, arguments.data, arguments.fsync_interval_s, arguments.behind) as (
        host,
        port,
    ):
        print(NOTICE.format(fsync_s=arguments.fsync_interval_s), file=sys.stderr)
        print(f"listening on {host}:{port}, data in {arguments.data}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        uvloop.run(main())
    except (NotLoopback, DataDirectoryInUse, OSError) as error:
        sys.exit(f"the development broker cannot start: {error}")
