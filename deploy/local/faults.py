"""Fault proxies as a process: each stands before a dependency, and is told over HTTP what to do to it.

    python -m deploy.local.faults --port 7001 --before store 7000 127.0.0.1:6379 --before broker 7002 127.0.0.1:9093
    curl -X POST localhost:7001/faults -H 'Content-Type: application/json' -d '{"dependency": "store", "fault": "slow", "delay_ms": 50}'

A broker tells its clients where to go on: it needs a listener that advertises the proxy's port (`deploy.local.broker --behind`,
`advertised.listeners` of Apache Kafka). It is for tests and scenarios, on loopback, and asks nobody for a key.
"""

import argparse
import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated

import msgspec
import uvicorn
from litestar import Litestar, get, post
from litestar.exceptions import NotFoundException
from msgspec import Meta

from deploy.local.fault_proxy import Fault, FaultProxy
from deploy.local.ports import LOOPBACK


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """delay_ms: of `slow`, each way."""

    dependency: str
    fault: Fault
    delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 0.0


def create_app(proxies: Mapping[str, FaultProxy]) -> Litestar:
    """By the name of the dependency."""

    @post("/faults", status_code=200)
    async def faults(data: Order) -> Order:
        if data.dependency not in proxies:
            raise NotFoundException(f"no proxy before {data.dependency!r}; known: {', '.join(sorted(proxies))}")
        await asyncio.to_thread(proxies[data.dependency].set, data.fault, data.delay_ms / 1000)
        return data

    @get("/health")
    async def health() -> dict[str, int]:
        return {name: proxy.port for name, proxy in proxies.items()}

    return Litestar([faults, health], openapi_config=None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.faults")
    parser.add_argument("--port", type=int, required=True, help="where it takes orders")
    parser.add_argument(
        "--before",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "PORT", "ADDRESS"),
        help="a dependency, where the proxy before it listens, and where it is (host:port)",
    )
    chosen = parser.parse_args()
    with ExitStack() as stack:
        proxies = {}
        for name, own_port, address in chosen.before:
            host, _, port = address.rpartition(":")
            proxies[name] = stack.enter_context(FaultProxy(host, int(port), int(own_port)))
        uvicorn.run(create_app(proxies), host=LOOPBACK, port=chosen.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
