"""The online store on Redis (7.0 or later, or Valkey), for the worker and the snapshot.

Synchronous and through redis-py; the scorer reads the same keys through `online_async`. Nothing here
retries: redis-py's default of ten retries turns a hung server into half a minute of silence, and the
worker has its own loop that re-reads and folds again.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import hiredis
import msgspec
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError
from redis.retry import Retry

from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_port import (
    ABSENT,
    BEHIND,
    DIGEST_CHARS,
    HOLDER,
    LAGGARD,
    MARKER_KEY,
    POSITIONS_KEY,
    PUBLISHER,
    TOPIC,
    VERSION_BYTES,
    EpochMarker,
    KeySpace,
    NoEpoch,
    StoreUnavailable,
    UnfitStore,
    Versioned,
    WentBack,
    Write,
    check_epoch_name,
    envelope,
    marker_prefix,
    opened,
    withdrawn,
)
from fraud_assets.stores.online_scripts import ADVANCE, CATCH_UP, COMPARE_AND_SET, FALL_BEHIND, REPLACE_MARKER

TIMEOUT_S = 2.0  # a micro-batch may be large; longer than this the worker should say that it waits
# A script holds the server's only thread: 256 writes take about a millisecond, which a waiting
# scorer can bear.
KEYS_PER_SCRIPT = 256
KEYS_PER_DROP = 1_000
KEYS_PER_LOAD = 500  # answers wait in the socket while we write: a few kilobytes, which every system buffers

T = TypeVar("T")


@contextmanager
def _errors_named() -> Iterator[None]:
    """redis-py's errors as the port's: one word for why there is no answer. Decorates methods."""
    try:
        yield
    except redis.TimeoutError as error:
        raise StoreUnavailable("online_store_timeout", str(error)) from error
    except redis.ConnectionError as error:
        raise StoreUnavailable("online_store_unreachable", str(error)) from error
    except OutOfMemoryError as error:
        raise StoreUnavailable("online_store_full", f"raise maxmemory ({error})") from error


class OnlineStore:
    """`OnlineStates` on one Redis server. Not for several threads: it is bound to one epoch."""

    def __init__(self, client: redis.Redis, registry: Registry) -> None:
        self._client: Any = client  # redis-py types every answer as a union with awaitables
        self.keys = KeySpace(registry)
        self._epoch: EpochMarker | None = None
        self._scripts: dict[str, str] = {}
        self._holder, self._word = "", ""
        self._unanswered = ""  # a word that the store may have by now
        self._said: dict[str, int] = {}  # positions, acknowledged

    @classmethod
    def connect(cls, url: str, registry: Registry, timeout_s: float = TIMEOUT_S) -> Self:
        """From `settings.redis_url`; connects on first use."""
        client = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        return cls(client, registry)

    @_errors_named()
    def check(self) -> None:
        """Raises UnfitStore unless maxmemory-policy is noeviction: an evicted entity would pass for a new one."""
        # INFO rather than CONFIG GET, which managed servers refuse.
        policy = self._client.info("memory").get("maxmemory_policy")
        if policy != "noeviction":
            raise UnfitStore(
                f"the online store evicts (maxmemory-policy {policy}): it would forget entities without a word."
                " Set maxmemory-policy noeviction."
            )

    @_errors_named()
    def current_epoch(self) -> EpochMarker:
        """Bind to the published epoch. Raises NoEpoch."""
        self._epoch = None
        self._epoch = self.keys.parse_marker(self._client.get(MARKER_KEY))
        return self._epoch

    @_errors_named()
    def read_many(self, group: str, keys: Sequence[str]) -> list[Versioned | None]:
        """One round trip, which also reads the marker: a flush in between is seen at once."""
        if not keys:
            return []
        epoch = self._bound()
        prefix = self.keys.prefix(group, epoch)
        expected = marker_prefix(epoch)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.mget([prefix + key for key in keys])
            # After the states, so that a flush before or between them cannot show an empty world.
            pipe.getrange(MARKER_KEY, 0, len(expected) - 1)
            values, found = pipe.execute()
        if found != expected:
            raise self._lost(f"epoch {epoch} is no longer the store's")
        return [opened(value) for value in values]

    @_errors_named()
    def compare_and_set(self, group: str, writes: Sequence[Write]) -> list[bool]:
        """All scripts go out in one round trip; each key is written at most once, atomically."""
        if not writes:
            return []
        prefix = self.keys.prefix(group, self._bound())
        expiry = self.keys.expiry_ms(group)
        calls = [self._call(prefix, expiry, chunk) for chunk in _chunks(writes, KEYS_PER_SCRIPT)]
        made: list[bool] = []
        for answer in self._run(COMPARE_AND_SET, calls):
            made.extend(flag == 1 for flag in answer)
        return made

    @_errors_named()
    def positions(self) -> dict[str, int] | None:
        found = self._client.hgetall(POSITIONS_KEY + self._bound())
        if not found:
            return None
        return {name.decode(): int(at) for name, at in found.items() if not name.startswith(HOLDER.encode())}

    def hold(self, owner: str, starts: Mapping[str, int]) -> None:
        self._holder, self._word, self._unanswered, self._said = HOLDER + owner, "", "", {}
        self._say(starts)

    def advance(self, positions: Mapping[str, int]) -> None:
        """Replication and files keep the order of writes: a store that has this has every write before it."""
        self._say(positions)

    @_errors_named()
    def _say(self, positions: Mapping[str, int]) -> None:
        word = uuid.uuid4().hex
        said = [item for name, at in positions.items() for item in (name, at)]
        head = self._head_words()
        self._unanswered = word
        self._run(ADVANCE, [[2, *self._head_keys(), *head, word, *said]])
        self._word, self._unanswered = word, ""
        for name, at in positions.items():
            self._said[name] = max(at, self._said.get(name, at))

    @_errors_named()
    def topic_ids(self) -> dict[str, str]:
        found = self._client.hgetall(POSITIONS_KEY + self._bound())
        return {
            name.decode().removeprefix(TOPIC): at.decode()
            for name, at in found.items()
            if name.startswith(TOPIC.encode())
        }

    @_errors_named()
    def adopt_topics(self, ids: Mapping[str, str]) -> None:
        for name, topic_id in ids.items():
            self._client.hsetnx(POSITIONS_KEY + self._bound(), TOPIC + name, topic_id)

    @_errors_named()
    def lost(self) -> dict[str, int]:
        held = self.positions() or {}
        return {name: at for name, at in self._said.items() if held.get(name, -1) < at}

    @_errors_named()
    def fall_behind(self, owner: str, lost: Mapping[str, int]) -> None:
        if lost:
            self._run(
                FALL_BEHIND,
                [
                    [
                        2,
                        *self._head_keys(),
                        marker_prefix(self._bound()),
                        BEHIND,
                        LAGGARD + owner,
                        msgspec.json.encode(dict(lost)),
                    ]
                ],
            )

    @_errors_named()
    def catch_up(self) -> bool:
        [[answer]] = self._run(CATCH_UP, [[2, *self._head_keys(), marker_prefix(self._bound()), BEHIND, LAGGARD]])
        return answer == 1

    @_errors_named()
    def withdraw(self, why: str) -> None:
        try:
            marker = self.current_epoch()
        except NoEpoch:
            return
        self._run(REPLACE_MARKER, [[1, MARKER_KEY, marker_prefix(marker.epoch), withdrawn(marker, why)]])
        self._epoch = None

    @_errors_named()
    def load(self, epoch: str, group: str, states: Sequence[tuple[str, bytes]]) -> None:
        """Unconditional, for keys that nobody reads before `publish_epoch`.

        Packed and answered without redis-py's pipeline, which costs twice what the server does.
        """
        check_epoch_name(epoch)
        prefix, expiry = self.keys.prefix(group, epoch), self.keys.expiry_ms(group)
        tail: tuple[Any, ...] = () if expiry is None else (b"PX", str(expiry).encode())
        pack, version = hiredis.pack_command, (ABSENT + 1).to_bytes(VERSION_BYTES, "little")
        commands = (pack((b"SET", prefix + key, version + packed, *tail)) for key, packed in states)
        pool, waiting = self._client.connection_pool, 0
        connection = pool.get_connection()
        try:
            for chunk in _chunks(commands, KEYS_PER_LOAD):
                connection.send_packed_command([b"".join(chunk)])
                _take_answers(connection, waiting)  # of the chunk before: the server works while we pack
                waiting = len(chunk)
            _take_answers(connection, waiting)
        except BaseException:
            connection.disconnect()  # answers are outstanding; nobody may take them for his
            raise
        finally:
            pool.release(connection)

    @_errors_named()
    def publish_epoch(
        self, epoch: str, *, log: str, resume: dict[str, int], now_ms: int, topics: Mapping[str, str] | None = None
    ) -> EpochMarker:
        """One SET: readers see the former world or the new one, whole."""
        marker = self.keys.marker(epoch, log, resume, now_ms, topics)
        ids = {TOPIC + name: topic_id for name, topic_id in marker.topics.items()}
        self._client.hset(POSITIONS_KEY + epoch, mapping={PUBLISHER: "", **ids, **resume})
        self._client.set(MARKER_KEY, msgspec.json.encode(marker))
        self._epoch = marker
        return marker

    @_errors_named()
    def keys_where(self, wanted: Callable[[str, str], bool]) -> list[bytes]:
        """Keys of every epoch and definition by (group, entity key). Looks at all keys, in steps."""
        found = list(self._client.scan_iter(match="fs:*:*:*:*", count=KEYS_PER_DROP))
        return [name for name in found if wanted(*name.decode().split(":", 4)[3:])]

    @_errors_named()
    def unlink(self, names: Sequence[bytes]) -> int:
        """How many were there. Whoever folds one of them meanwhile finds another version, and reads again."""
        return sum(self._client.unlink(*chunk) for chunk in _chunks(names, KEYS_PER_DROP))

    @_errors_named()
    def drop_epoch(self, epoch: str) -> int:
        """SCAN and UNLINK in steps, so that readers wait for none of it."""
        check_epoch_name(epoch)
        marker = self._client.get(MARKER_KEY)
        if marker is not None and marker.startswith(marker_prefix(epoch)):
            raise ValueError(f"epoch {epoch} is the published one; publish another before dropping it")
        dropped = 0
        found = self._client.scan_iter(match=f"fs:{'?' * DIGEST_CHARS}:{epoch}:*", count=KEYS_PER_DROP)
        for keys in _chunks(found, KEYS_PER_DROP):
            dropped += self._client.unlink(*keys)
        self._client.unlink(POSITIONS_KEY + epoch)
        return dropped

    def close(self) -> None:
        self._client.close()

    def _bound(self) -> str:
        return (self._epoch or self.current_epoch()).epoch

    def _lost(self, why: str) -> NoEpoch:
        self._epoch = None
        return NoEpoch(
            f"{why}: it was flushed, replaced or republished. Call current_epoch() and resume from its offsets."
        )

    def _head_keys(self) -> list[Any]:
        return [MARKER_KEY, POSITIONS_KEY + self._bound()]

    def _head_words(self) -> list[Any]:
        """A server that was slow may have taken the word whose answer we did not wait for: it has not gone back."""
        if self._unanswered:
            held = self._client.hget(POSITIONS_KEY + self._bound(), self._holder)
            if held is not None and held.decode() == self._unanswered:
                self._word = self._unanswered
            self._unanswered = ""
        return [marker_prefix(self._bound()), self._holder, self._word]

    def _call(self, prefix: str, expiry: int | None, writes: Sequence[Write]) -> list[Any]:
        keys, words = self._head_keys(), [*self._head_words(), "" if expiry is None else expiry]
        for key, expected, packed in writes:
            keys.append(prefix + key)
            words.append(b"" if expected == ABSENT else expected.to_bytes(VERSION_BYTES, "little"))
            words.append(envelope(expected + 1, packed))
        return [len(keys), *keys, *words]

    def _run(self, script: str, calls: list[list[Any]]) -> list[list[int]]:
        """Answers of the script; a server that does not know it yet (restart, failover) is taught it once."""
        answers = self._send(script, calls)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            self._scripts[script] = self._client.script_load(script)
            again = self._send(script, [calls[place] for place in unknown])
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        return [self._checked(answer) for answer in answers]

    def _send(self, script: str, calls: list[list[Any]]) -> list[Any]:
        if script not in self._scripts:
            self._scripts[script] = self._client.script_load(script)
        with self._client.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.execute_command("EVALSHA", self._scripts[script], *call)
            return list(pipe.execute(raise_on_error=False))

    def _checked(self, answer: Any) -> list[int]:
        if isinstance(answer, ResponseError) and "NOEPOCH" in str(answer):
            raise self._lost(f"epoch {self._bound()} is no longer the store's")
        if isinstance(answer, ResponseError) and "WENTBACK" in str(answer):
            raise WentBack(
                "the online store does not have what was written to it last: a replica was promoted too early, or an older"
                " copy restored. Start again from the store's own positions."
            )
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


def _take_answers(connection: Any, count: int) -> None:
    for _ in range(count):
        connection.read_response()


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
