"""What a process wrote to a store of late: a replica that is promoted may lack the last of it, and nobody else has it yet."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

# Replicas are milliseconds behind; one that is further behind than this should not be promoted.
KEPT_S = 20.0
MOST = 20_000  # some 30 MB of cases

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Write(NamedTuple, Generic[Key, Value]):
    number: int
    at_s: float
    values: Mapping[Key, Value]


class Recent(Generic[Key, Value]):
    """Numbered writes, the newest of them: so many values, of the last so many seconds."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._writes: deque[_Write[Key, Value]] = deque()
        self._held = 0

    def add(self, number: int, values: Mapping[Key, Value]) -> None:
        self._writes.append(_Write(number, self._now_s(), dict(values)))
        self._held += len(values)
        while self._writes and (self._held > MOST or self._now_s() - self._writes[0].at_s > KEPT_S):
            self._held -= len(self._writes.popleft().values)

    def since(self, number: int) -> dict[Key, Value]:
        """What was written after that write, the newest of each key."""
        return {key: value for write in self._writes if write.number > number for key, value in write.values.items()}
