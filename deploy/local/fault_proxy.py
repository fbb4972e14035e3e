"""A TCP proxy that misbehaves on command: slow, hung or gone, as networks and servers are.

For tests and for the simulator's degraded scenarios. It listens on loopback only and forwards bytes unchanged.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from deploy.local.ports import LOOPBACK, free_port

_CHUNK = 64 * 1024


class Fault(StrEnum):
    """none: forward at once. slow: each chunk waits `delay_s`. hung: accept, and forward nothing. refused: no listener."""

    NONE = "none"
    SLOW = "slow"
    HUNG = "hung"
    REFUSED = "refused"


class FaultProxy:
    """Stands before `host:port` on a free port of its own, in a thread of its own, until closed.

    A change of fault holds for connections that are open too; REFUSED resets them.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self.port = free_port()
        self._delay_s = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, fault: Fault, delay_s: float = 0.0) -> None:
        """From now on. delay_s: of SLOW, one way."""
        self._call(self._apply(fault, delay_s))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _apply(self, fault: Fault, delay_s: float) -> None:
        self._delay_s = delay_s if fault is Fault.SLOW else 0.0
        if fault is Fault.HUNG:
            self._flowing.clear()
        else:
            self._flowing.set()
        await (self._refuse() if fault is Fault.REFUSED else self._listen())

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        self._open.add(far_writer)
        await asyncio.gather(self._forward(reader, far_writer), self._forward(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either side ends. What is held back by HUNG goes on when it is over, as with a stopped process."""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._flowing.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(chunk)
                await writer.drain()
        writer.close()
