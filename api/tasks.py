"""Tasks that run beside requests, and how they end."""

import asyncio
import contextlib


async def ended(*tasks: "asyncio.Task[None] | None") -> None:
    """Cancel each and wait until it has ended; None is one that was never started."""
    for task in tasks:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
