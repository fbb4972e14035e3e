"""The dedupe stage's memory in Redis: firsts by identity, and how far each partition was judged.

Entries outlive marks, so whatever a valid mark covers is still there (see docs/adr/0005).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streaming.core.accept import Peak, TopicPartition
from streaming.core.dedupe import Firsts, Mark, pack_firsts, unpack_firsts

TIMEOUT_S = 2.0


def connect(url: str) -> Any:
    """A client that answers or fails within seconds; redis-py's own retries hide a hung server for half a minute."""
    return redis.Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
    )


class RedisSeen:
    """`SeenStore` on Redis. One round trip a call."""

    def __init__(self, client: Any, horizon_ms: int) -> None:
        self._client = client
        self._horizon_ms = horizon_ms

    def read(self, at: Sequence[TopicPartition], identities: Sequence[bytes]) -> tuple[list[Mark | None], list[Firsts]]:
        keys = [*map(_mark_key, at), *(b"dd:" + identity for identity in identities)]
        found = self._client.mget(keys) if keys else []
        marks = [_unpack_mark(raw) if raw else None for raw in found[: len(at)]]
        return marks, [unpack_firsts(raw) for raw in found[len(at) :]]

    def write(self, marks: Mapping[TopicPartition, Mark], firsts: Mapping[bytes, Firsts]) -> None:
        """Firsts before marks: a mark must never vouch for what is not there."""
        with self._client.pipeline(transaction=False) as pipe:
            for identity, kept in firsts.items():
                pipe.set(b"dd:" + identity, pack_firsts(kept), px=2 * self._horizon_ms)
            for at, mark in marks.items():
                pipe.set(_mark_key(at), _pack_mark(mark), px=self._horizon_ms)
            pipe.execute()


def _mark_key(at: TopicPartition) -> bytes:
    return f"dd-mark:{at[0]}/{at[1]}".encode()


def _pack_mark(mark: Mark) -> str:
    return " ".join(
        [f"{mark.next_offset} {mark.complete_from}", *(f"{peak.offset}:{peak.append_ms}" for peak in mark.peaks)]
    )


def _unpack_mark(raw: bytes) -> Mark:
    next_offset, complete_from, *peaks = raw.decode().split(" ")
    return Mark(int(next_offset), tuple(Peak(*map(int, peak.split(":"))) for peak in peaks), int(complete_from))
