"""Waiting for what other processes do, in a test's own event loop."""

import asyncio
import time
from collections.abc import Callable


async def until(true: Callable[[], object], within_s: float) -> None:
    """Returns when it is true; fails if it is not within the deadline."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "not within the deadline"
        await asyncio.sleep(0.005)
