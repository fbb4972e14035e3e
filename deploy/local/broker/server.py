"""The broker put together: storage, coordinator and APIs behind a loopback listener, or two."""

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from deploy.local.broker.api_admin import AdminApi
from deploy.local.broker.api_data import DataApi
from deploy.local.broker.api_groups import GroupApi
from deploy.local.broker.api_offsets import OffsetApi
from deploy.local.broker.catalog import Catalog
from deploy.local.broker.coordinator import Coordinator
from deploy.local.broker.topics import Topics
from deploy.local.broker.wire import Protocol

log = logging.getLogger(__name__)

# A request of a megabyte should not need many wake-ups of the reader.
_STREAM_BUFFER_BYTES = 4 * 1024 * 1024
_GROUP_TICK_S = 0.05
_RETENTION_INTERVAL_S = 5.0


class NotLoopback(ValueError):
    """There is no authentication here at all, so the address must not be reachable from outside."""


class DataDirectoryInUse(RuntimeError):
    """Two brokers on one directory would interleave their batches."""


def require_loopback(host: str) -> str:
    """The address to listen on. Raises NotLoopback, also for names: those are somebody else's to resolve."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise NotLoopback(f"{host!r}: the development broker listens on 127.0.0.1 or ::1 only; use real Kafka beyond")
    return host


class Listener(NamedTuple):
    """A second door. advertised_port: what clients that come through it are told, for a proxy listens there; all that they say comes through it then."""

    port: int
    advertised_port: int


@contextlib.asynccontextmanager
async def broker(
    host: str, port: int, data_dir: Path, fsync_interval_s: float, behind: Listener | None = None
) -> AsyncIterator[tuple[str, int]]:
    """A running broker; yields the address it listens on (port 0 picks a free one)."""
    require_loopback(host)
    with _exclusive(data_dir), contextlib.ExitStack() as closing:
        catalog = Catalog(data_dir / "catalog.sqlite")
        closing.callback(catalog.close)
        topics = Topics(data_dir / "logs", catalog, clock_ms=lambda: time.time_ns() // 1_000_000)
        closing.callback(topics.close)
        coordinator = Coordinator(catalog, clock_s=time.monotonic)
        connections: set[asyncio.Task[None]] = set()

        async def listening(port: int, advertised_port: int = 0) -> asyncio.Server:
            protocol: Protocol | None = None

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                assert task is not None and protocol is not None
                connections.add(task)
                task.add_done_callback(connections.discard)
                await protocol.serve(reader, writer)

            server = await asyncio.start_server(accept, host, port, limit=_STREAM_BUFFER_BYTES, start_serving=False)
            protocol = _protocol(topics, catalog, coordinator, (host, advertised_port or _port(server)))
            await server.start_serving()
            return server

        servers = [await listening(port)]
        if behind is not None:
            servers.append(await listening(*behind))
        chores = [
            asyncio.create_task(_tick_groups(coordinator)),
            asyncio.create_task(_flush(topics, fsync_interval_s)),
            asyncio.create_task(_retain(topics)),
        ]
        for chore in chores:
            chore.add_done_callback(_report_failure)
        try:
            yield host, _port(servers[0])
        finally:
            for server in servers:
                server.close()
            for task in (*chores, *connections):
                task.cancel()
            await asyncio.gather(*chores, *connections, return_exceptions=True)


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def _protocol(topics: Topics, catalog: Catalog, coordinator: Coordinator, address: tuple[str, int]) -> Protocol:
    return Protocol(
        [
            *DataApi(topics, catalog).endpoints(),
            *AdminApi(topics, catalog.cluster_id, address).endpoints(),
            *GroupApi(coordinator, address).endpoints(),
            *OffsetApi(coordinator, topics).endpoints(),
        ]
    )


@contextlib.contextmanager
def _exclusive(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DataDirectoryInUse(f"{data_dir} belongs to a running broker") from error
    finally:
        os.close(lock)


async def _tick_groups(coordinator: Coordinator) -> None:
    while True:
        await asyncio.sleep(_GROUP_TICK_S)
        coordinator.tick()


async def _flush(topics: Topics, interval_s: float) -> None:
    """Fsync in a thread: a slow disk must not delay answers, which do not wait for it."""
    while True:
        await asyncio.sleep(interval_s)
        for partition in topics.logs():
            with contextlib.suppress(OSError):  # its topic was deleted meanwhile
                await asyncio.to_thread(partition.flush)


async def _retain(topics: Topics) -> None:
    while True:
        await asyncio.sleep(_RETENTION_INTERVAL_S)
        for partition in topics.logs():
            partition.apply_retention()


def _report_failure(chore: asyncio.Task[None]) -> None:
    if not chore.cancelled() and chore.exception() is not None:
        log.critical("a chore of the broker died", exc_info=chore.exception())
        os._exit(70)  # EX_SOFTWARE: without expiry or flushing it must not go on; a supervisor restarts it
