"""Messages on raw sockets, a few at once, and what came back."""

import asyncio
import re
from collections import Counter
from typing import NamedTuple

from tests.fuzz.messages import Message, message

AT_ONCE = 8  # fewer than the scorer works on at once: its refusals under load are another test's
WITHIN_S = 60.0
PATIENCE_S = 0.5  # how long an answer may stay out before we say that no more of the request will come

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_OVERLOADED = b'"type":"overloaded"'


class Found(NamedTuple):
    """kinds: how many of each were sent. statuses: how many of each came back. failures: what may not be."""

    kinds: Counter[str]
    statuses: Counter[int]
    failures: list[str]


async def send_all(port: int, seed: int, count: int, credential: str) -> Found:
    """The first `count` messages of a seed."""
    found = Found(Counter(), Counter(), [])
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            one = message(seed, number, credential)
            found.kinds[one.kind] += 1
            answered = await _sent(port, one)
            if answered is None:
                found.failures.append(_named("no end within the deadline", number, one))
                continue
            statuses = [int(status) for status in _STATUS.findall(answered)]
            found.statuses.update(statuses)
            if any(status >= 500 and not (status == 503 and _OVERLOADED in answered) for status in statuses):
                found.failures.append(_named(f"answered {statuses}", number, one))

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return found


class _Heard(asyncio.Protocol):
    """All that came, also where a reset came after it: a stream would forget what it had not handed out."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.some, self.closed = asyncio.Event(), asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.raw += data
        self.some.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.some.set()
        self.closed.set()


async def _sent(port: int, one: Message) -> bytes | None:
    """All that came back until the server closed; None if it never did. We close our side, so it must."""
    transport, heard = await asyncio.get_running_loop().create_connection(_Heard, "127.0.0.1", port)
    try:
        transport.write(one.raw)
        if not one.cut:
            await _within(PATIENCE_S, heard.some)  # the server stops working on a request as soon as we close
            await _within(PATIENCE_S / 10, heard.closed)
            if not transport.is_closing():
                transport.write_eof()
            if not await _within(WITHIN_S, heard.closed):
                return None
        return bytes(heard.raw)
    finally:
        transport.abort()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _named(what: str, number: int, one: Message) -> str:
    return f"message {number} ({one.kind}): {what}: {one.raw[:300]!r}"
