"""One fetch: what it finds, what it waits for, and its answer as bytes.

A consumer asks for all its partitions each time, and mostly one of them has something new. So a
waiting fetch reads again only what was appended to, and the answer is packed here: written by kio, whose
every field is an object, it took half of the broker's time.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import NamedTuple

from kio.schema.errors import ErrorCode
from kio.schema.fetch.v11 import request as rq

from deploy.local.broker.errors import Refused
from deploy.local.broker.log import PartitionLog
from deploy.local.broker.topics import Topics

# FetchResponse v11: throttle time, error, session (we have none), number of topics.
_HEAD = struct.Struct(">ihii")
_LENGTH16 = struct.Struct(">h")
_COUNT = struct.Struct(">i")
# Index, error, high watermark, last stable offset, log start, no aborted transactions, no preferred replica, length.
_PARTITION = struct.Struct(">ihqqqiii")
_NO_REPLICA = -1


class Read(NamedTuple):
    """A partition's part of the answer; ends are -1 where there is no such partition."""

    partition: int
    code: int
    end: int
    start: int
    records: bytes

    def packed(self) -> bytes:
        head = _PARTITION.pack(
            self.partition, self.code, self.end, self.end, self.start, 0, _NO_REPLICA, len(self.records)
        )
        return head + self.records


class Fetch:
    """A fetch request and what it has found so far."""

    def __init__(self, topics: Topics, request: rq.FetchRequest) -> None:
        self._request = request
        self._asked = [(topic.topic, wanted) for topic in request.topics for wanted in topic.partitions]
        self._logs = [_log(topics, topic, wanted.partition) for topic, wanted in self._asked]
        self._budget = int(request.max_bytes)
        self._found: list[Read] = []
        for place in range(len(self._asked)):
            self._found.append(self._read(place))

    def is_worth_answering(self) -> bool:
        """`min_bytes` are there, or something is wrong, or nothing was asked."""
        if not self._found or any(found.code for found in self._found):
            return True
        return int(self._request.max_bytes) - self._budget >= self._request.min_bytes

    async def wait(self) -> None:
        """Until it is worth answering, or `max_wait` has passed."""
        appended: set[int] = set()
        woken = asyncio.Event()
        listeners = [
            (log, _listener(appended, woken, place)) for place, log in enumerate(self._logs) if log is not None
        ]
        for log, listener in listeners:
            log.on_append.add(listener)
        try:
            async with asyncio.timeout(self._request.max_wait.total_seconds()):
                while not self.is_worth_answering():
                    await woken.wait()
                    woken.clear()
                    while appended:
                        self._read_again(appended.pop())
        except TimeoutError:
            pass
        finally:
            for log, listener in listeners:
                log.on_append.discard(listener)

    def answer(self) -> bytes:
        """The body of a FetchResponse."""
        parts = [_HEAD.pack(0, ErrorCode.none, 0, len(self._request.topics))]
        place = 0
        for topic in self._request.topics:
            name = topic.topic.encode()
            parts += [_LENGTH16.pack(len(name)), name, _COUNT.pack(len(topic.partitions))]
            parts += [found.packed() for found in self._found[place : place + len(topic.partitions)]]
            place += len(topic.partitions)
        return b"".join(parts)

    def _read_again(self, place: int) -> None:
        self._budget += len(self._found[place].records)
        self._found[place] = self._read(place)

    def _read(self, place: int) -> Read:
        (_, wanted), log = self._asked[place], self._logs[place]
        if log is None:
            return Read(wanted.partition, ErrorCode.unknown_topic_or_partition, -1, -1, b"")
        end = log.end_offset
        if wanted.fetch_offset == end:  # nothing new, as in most partitions of most fetches
            return Read(wanted.partition, ErrorCode.none, end, log.start_offset, b"")
        code, records = ErrorCode.none, b""
        try:
            # With the budget spent a partition still reports its ends and its errors.
            log.check_readable(wanted.fetch_offset)
            if self._budget > 0:
                records = log.read(wanted.fetch_offset, min(wanted.partition_max_bytes, self._budget))
        except Refused as refusal:
            code = refusal.code
        self._budget -= len(records)
        return Read(wanted.partition, code, end, log.start_offset, records)


def _log(topics: Topics, topic: str, partition: int) -> PartitionLog | None:
    try:
        return topics.partition(topic, partition)
    except Refused:
        return None


def _listener(appended: set[int], woken: asyncio.Event, place: int) -> Callable[[], None]:
    def listen() -> None:
        appended.add(place)
        woken.set()

    return listen
