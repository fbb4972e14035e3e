"""A TCP proxy that misbehaves on command: slow, hung or gone, as networks and servers are.

For tests and for the simulator's degraded scenarios. It listens on loopback only and forwards bytes unchanged.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from deploy.local.ports import LOOPBACK, free_port

_CHUNK = 64 * 1024


class Fault(StrEnum):
    """none: forward at once. slow: each chunk waits `delay_s`. hung: accept, and forward nothing. refused: no listener.
    cut: a connection is reset once its client has sent `after_bytes`.
    """

    NONE = "none"
    SLOW = "slow"
    HUNG = "hung"
    REFUSED = "refused"
    CUT = "cut"


class FaultProxy:
    """Stands before `host:port` on `own_port`, by default any that is free, in a thread of its own, until closed.

    A change of fault holds for connections that are open too; REFUSED resets them.
    """

    def __init__(self, host: str, port: int, own_port: int | None = None) -> None:
        self._upstream = host, port
        self.port = own_port or free_port()
        self._delay_s = 0.0
        self._cut_after: int | None = None
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
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, fault: Fault, delay_s: float = 0.0, after_bytes: int = 0) -> None:
        """From now on. delay_s: of SLOW, one way. after_bytes: of CUT."""
        self._call(self._apply(fault, delay_s, after_bytes))

    def point_to(self, host: str, port: int) -> None:
        """As a name that fails over: open connections are reset, new ones go there."""
        self._call(self._repoint(host, port))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _apply(self, fault: Fault, delay_s: float, after_bytes: int) -> None:
        self._delay_s = delay_s if fault is Fault.SLOW else 0.0
        self._cut_after = after_bytes if fault is Fault.CUT else None
        if fault is Fault.HUNG:
            self._flowing.clear()
        else:
            self._flowing.set()
        await (self._refuse() if fault is Fault.REFUSED else self._listen())

    async def _repoint(self, host: str, port: int) -> None:
        self._upstream = host, port
        for writer in list(self._open):
            writer.transport.abort()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _end(self) -> None:
        """Nobody is left who would wait for a loop that is gone."""
        await self._refuse()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # At the proxy's end. Python 3.11 reports a handler that ends as cancelled.
        with contextlib.suppress(asyncio.CancelledError):
            await self._join(reader, writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        self._open.add(far_writer)
        sent = self._until_cut(reader, writer, far_writer)
        await asyncio.gather(self._forward(sent, far_writer), self._forward(_chunks(far_reader), writer))
        self._open -= {writer, far_writer}

    async def _until_cut(self, reader: asyncio.StreamReader, *ends: asyncio.StreamWriter) -> AsyncIterator[bytes]:
        """What the client sends; both ends are reset when it is too much."""
        sent = 0
        async for chunk in _chunks(reader):
            sent += len(chunk)
            if self._cut_after is not None and sent > self._cut_after:
                for writer in ends:
                    writer.transport.abort()
                return
            yield chunk

    async def _forward(self, chunks: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
        """Until either side ends. What is held back by HUNG goes on when it is over, as with a stopped process."""
        with contextlib.suppress(OSError):
            async for chunk in chunks:
                await self._flowing.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(chunk)
                await writer.drain()
        writer.close()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await reader.read(_CHUNK):
        yield chunk
