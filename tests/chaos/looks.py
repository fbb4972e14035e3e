"""The online store as a scorer sees it, again and again: read, or refused."""

import asyncio
import threading
import time
from types import TracebackType
from typing import NamedTuple, Self

from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online_cluster import reader_of
from fraud_assets.stores.online_port import NoEpoch, StoreUnavailable

PAUSE_S = 0.02
TIMEOUT_S = 1.0  # whether a store is valid is the question, not whether it is fast


class Degraded(NamedTuple):
    """after_s: from the fault to the first refusal. for_s: to the last one. read_meanwhile: answers between the two."""

    after_s: float
    for_s: float
    read_meanwhile: int


class Looks:
    """For as long as the block lasts. at_s, is_read: of each look that the store answered, with a history or with that there is no valid one."""

    def __init__(self, url: str, entity: tuple[str, str]) -> None:
        self._url, self._entity = url, entity
        self._looks: list[tuple[float, bool]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._look()), name="looks")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def is_read_since(self, at_s: float) -> bool:
        return any(when > at_s and is_read for when, is_read in list(self._looks))

    def degraded(self, since_s: float) -> Degraded:
        """Infinite if nobody was."""
        refused = [when for when, is_read in self._looks if when > since_s and not is_read]
        if not refused:
            return Degraded(float("inf"), 0.0, 0)
        read = sum(is_read and refused[0] < when < refused[-1] for when, is_read in self._looks)
        return Degraded(refused[0] - since_s, refused[-1] - refused[0], read)

    async def _look(self) -> None:
        reader = reader_of(self._url, registry(), TIMEOUT_S)
        reader.start()
        while not self._done.is_set():
            try:
                await reader.read([self._entity])
                self._looks.append((time.monotonic(), True))
            except NoEpoch:
                self._looks.append((time.monotonic(), False))
            except StoreUnavailable:
                pass
            await asyncio.sleep(PAUSE_S)
        await reader.close()
