"""The online store on Redis (7.0 or later, or Valkey), for the worker and the snapshot.

Synchronous and through redis-py; the scorer reads the same keys through `online_async`. Nothing here
retries: redis-py's default of ten retries turns a hung server into half a minute of silence, and the
worker has its own loop that re-reads and folds again.
"""

import functools
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import hiredis
import msgspec
import redis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    OutOfMemoryError,
    RedisClusterException,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)

from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_calls import chunks, load, scripted
from fraud_assets.stores.online_nodes import Nodes, is_cluster, nodes_of
from fraud_assets.stores.online_port import (
    ABSENT,
    BEHIND,
    DIGEST_CHARS,
    HOLDER,
    LAGGARD,
    MARKER_KEY,
    PARTS,
    PUBLISHER,
    TOPIC,
    VERSION_BYTES,
    EpochMarker,
    KeySpace,
    NoEpoch,
    PartLost,
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

EMPTIED = "a node of the cluster was emptied. Run `python -m streaming rebuild-online`."

T = TypeVar("T")
P = ParamSpec("P")
# Of a node that is not the one any more, or not yet, that has a key; and of a cluster that is not whole.
MOVING = (AskError, TryAgainError, ClusterDownError, SlotNotCoveredError, RedisClusterException)


def _errors_named(
    method: Callable[Concatenate["OnlineStore", P], T],
) -> Callable[Concatenate["OnlineStore", P], T]:
    """redis-py's errors as the port's: one word for why there is no answer."""

    @functools.wraps(method)
    def named(self: "OnlineStore", *args: P.args, **options: P.kwargs) -> T:
        try:
            return method(self, *args, **options)
        except redis.TimeoutError as error:
            self.nodes.look_again()
            raise StoreUnavailable("online_store_timeout", str(error)) from error
        except redis.ConnectionError as error:
            self.nodes.look_again()
            raise StoreUnavailable("online_store_unreachable", str(error)) from error
        except OutOfMemoryError as error:
            raise StoreUnavailable("online_store_full", f"raise maxmemory ({error})") from error
        except MOVING as error:
            self.nodes.look_again()
            raise StoreUnavailable("online_store_moving", str(error)) from error

    return cast(Callable[Concatenate["OnlineStore", P], T], named)


class OnlineStore:
    """`OnlineStates` on one Redis server, or on a cluster. Not for several threads: it is bound to one epoch.

    On a cluster the keys are in parts (`KeySpace`), and all that is said of the store is said of each part: its marker vouches for its states
    alone, its positions are how far those go, and a writer's last word is compared where it writes. `MARKER_KEY` names the epoch.
    """

    def __init__(self, nodes: Nodes, keys: KeySpace) -> None:
        self.nodes, self.keys = nodes, keys
        self._parts = range(keys.parts)
        self._epoch: EpochMarker | None = None
        self._holder = ""
        self._forget_said()

    @classmethod
    def connect(cls, url: str, registry: Registry, timeout_s: float = TIMEOUT_S) -> Self:
        """From `settings.online_store_url`; connects on first use."""
        return cls(nodes_of(url, timeout_s), KeySpace(registry, PARTS if is_cluster(url) else 1))

    @_errors_named
    def check(self) -> None:
        """Raises UnfitStore unless maxmemory-policy is noeviction: an evicted entity would pass for a new one."""
        # INFO rather than CONFIG GET, which managed servers refuse.
        policies = {node.info("memory").get("maxmemory_policy") for node in self.nodes.every()} - {"noeviction"}
        if policies:
            raise UnfitStore(
                f"the online store evicts (maxmemory-policy {', '.join(map(str, policies))}): it would forget entities"
                " without a word. Set maxmemory-policy noeviction."
            )

    @_errors_named
    def current_epoch(self) -> EpochMarker:
        """Bind to the published epoch. Raises NoEpoch; PartLost where a part does not vouch for it."""
        self._epoch = None
        raw = self.nodes.at(MARKER_KEY).get(MARKER_KEY)
        if raw is None and self.keys.parts > 1:
            self._refuse_remains()
        marker = self.keys.parse_marker(raw)
        self._epoch = self._vouched(marker) if self.keys.parts > 1 else marker
        return self._epoch

    def _refuse_remains(self) -> None:
        """Of an epoch whose marker is gone: who replaces it must know what to delete."""
        names = {
            name for name in self._ask(self._parts, lambda part: ("GET", self.keys.epoch_key(part))).values() if name
        }
        for name in names:
            raise PartLost(
                f"{MARKER_KEY} is absent, and parts of epoch {name.decode()} are there: {EMPTIED}", name.decode()
            )

    def _vouched(self, marker: EpochMarker) -> EpochMarker:
        """With the word of every part."""
        head = marker_prefix(marker.epoch)
        said = self._ask(
            self._parts, lambda part: ("GETRANGE", self.keys.marker_key(marker.epoch, part), 0, len(head + BEHIND) - 1)
        )
        lost = [part for part, word in said.items() if not word.startswith(head)]
        if lost:
            raise PartLost(
                f"{len(lost)} of {self.keys.parts} parts of epoch {marker.epoch} are gone: {EMPTIED}",
                marker.epoch,
            )
        return msgspec.structs.replace(marker, behind=any(word == head + BEHIND for word in said.values()))

    @_errors_named
    def read_many(self, group: str, keys: Sequence[str]) -> list[Versioned | None]:
        """One round trip to each server, which also reads the markers: a flush in between is seen at once."""
        if not keys:
            return []
        epoch = self._bound()
        expected = marker_prefix(epoch)
        own, places = self._split(keys, str)
        read = dict[int, list[Versioned | None]]()
        for node, parts in self._by_node(own):
            with node.pipeline(transaction=False) as pipe:
                for part in parts:
                    prefix = self.keys.prefix(group, epoch, part)
                    pipe.mget([prefix + key for key in own[part]])
                # After the states, so that a flush before or between them cannot show an empty world.
                for part in parts:
                    pipe.getrange(self.keys.marker_key(epoch, part), 0, len(expected) - 1)
                answers = pipe.execute()
            if any(said != expected for said in answers[len(parts) :]):
                raise self._lost(f"epoch {epoch} is no longer the store's")
            for part, values in zip(parts, answers, strict=False):
                read[part] = [opened(value) for value in values]
        return _in_order([state for part in own for state in read[part]], places)

    @_errors_named
    def compare_and_set(self, group: str, writes: Sequence[Write]) -> list[bool]:
        """All scripts go out in one round trip to each server; each key is written at most once, atomically."""
        if not writes:
            return []
        epoch, expiry = self._bound(), self.keys.expiry_ms(group)
        own, places = self._split(writes, _key_of)
        self._hear(own)
        calls = [
            (part, self._call(part, self.keys.prefix(group, epoch, part), expiry, chunk))
            for part, theirs in own.items()
            for chunk in chunks(theirs, KEYS_PER_SCRIPT)
        ]
        answers = self._run(COMPARE_AND_SET, calls)
        return _in_order([flag == 1 for answer in answers for flag in answer], places)

    @_errors_named
    def positions(self) -> dict[str, int] | None:
        """What every part has: none goes further than the one that goes least far."""
        every = self._all_held()
        if not any(every.values()):
            return None
        held = [_offsets(one) for one in every.values()]
        return {name: min(one[name] for one in held) for name in held[0] if all(name in one for one in held)}

    def hold(self, owner: str, starts: Mapping[str, int]) -> None:
        self._holder = HOLDER + owner
        self._forget_said()
        self._say(starts)

    def advance(self, positions: Mapping[str, int]) -> None:
        """Replication and files keep the order of writes: a part that has this has every write before it."""
        self._say(positions)

    @_errors_named
    def _say(self, positions: Mapping[str, int]) -> None:
        word = uuid.uuid4().hex
        said = [item for name, at in positions.items() for item in (name, at)]
        self._hear(self._parts)
        calls = [(part, [2, *self._head_keys(part), *self._head_words(part), word, *said]) for part in self._parts]
        self._unanswered.update(dict.fromkeys(self._parts, (word, positions)))
        self._run(ADVANCE, calls)
        for part in self._parts:
            self._heard(part)

    @_errors_named
    def topic_ids(self) -> dict[str, str]:
        return {
            name.decode().removeprefix(TOPIC): at.decode()
            for held in self._all_held().values()
            for name, at in held.items()
            if name.startswith(TOPIC.encode())
        }

    @_errors_named
    def adopt_topics(self, ids: Mapping[str, str]) -> None:
        epoch = self._bound()
        for name, topic_id in ids.items():
            self._ask(
                self._parts,
                lambda part: ("HSETNX", self.keys.positions_key(epoch, part), TOPIC + name, topic_id),  # noqa: B023  # called here
            )

    @_errors_named
    def lost(self) -> dict[str, int]:
        lost: dict[str, int] = {}
        for part, held in self._positions().items():
            for name, at in self._said[part].items():
                if held.get(name, -1) < at:
                    lost[name] = max(at, lost.get(name, at))
        return lost

    @_errors_named
    def fall_behind(self, owner: str, lost: Mapping[str, int]) -> None:
        """Of the parts that lack any of it."""
        if not lost:
            return
        head, field, told = marker_prefix(self._bound()), LAGGARD + owner, msgspec.json.encode(dict(lost))
        behind = [
            part
            for part, held in self._positions().items()
            if any(held.get(name, -1) < at for name, at in lost.items())
        ]
        self._run(FALL_BEHIND, [(part, [2, *self._head_keys(part), head, BEHIND, field, told]) for part in behind])

    @_errors_named
    def catch_up(self) -> bool:
        words = [marker_prefix(self._bound()), BEHIND, LAGGARD]
        answers = self._run(CATCH_UP, [(part, [2, *self._head_keys(part), *words]) for part in self._parts])
        return all(answer == [1] for answer in answers)

    @_errors_named
    def withdraw(self, why: str) -> None:
        """Readers who ask no part but their own learn it from its marker, which goes."""
        try:
            marker = self.current_epoch()
        except NoEpoch:
            return
        call = [1, MARKER_KEY, marker_prefix(marker.epoch), withdrawn(marker, why)]
        [answer] = scripted(self.nodes.at(MARKER_KEY), REPLACE_MARKER, [call])
        self._checked(answer)
        self._retire(marker.epoch)
        self._epoch = None

    @_errors_named
    def load(self, epoch: str, group: str, states: Sequence[tuple[str, bytes]]) -> None:
        """Unconditional, for keys that nobody reads before `publish_epoch`."""
        check_epoch_name(epoch)
        expiry = self.keys.expiry_ms(group)
        tail: tuple[Any, ...] = () if expiry is None else (b"PX", str(expiry).encode())
        pack, version = hiredis.pack_command, (ABSENT + 1).to_bytes(VERSION_BYTES, "little")
        own, _ = self._split(states, itemgetter(0))
        for node, parts in self._by_node(own):
            load(
                node,
                (
                    pack((b"SET", prefix + key, version + packed, *tail))
                    for part in parts
                    for prefix in [self.keys.prefix(group, epoch, part)]
                    for key, packed in own[part]
                ),
            )

    @_errors_named
    def publish_epoch(
        self, epoch: str, *, log: str, resume: dict[str, int], now_ms: int, topics: Mapping[str, str] | None = None
    ) -> EpochMarker:
        """One SET: readers see the former world or the new one, whole. Of several parts each vouches for the new one before it is named, and
        for the former one until then.
        """
        marker = self.keys.marker(epoch, log, resume, now_ms, topics)
        raw, fields = msgspec.json.encode(marker), {PUBLISHER: "", **resume}
        fields |= {TOPIC + name: topic_id for name, topic_id in marker.topics.items()}
        flat = [item for field in fields.items() for item in field]
        self._ask(self._parts, lambda part: ("HSET", self.keys.positions_key(epoch, part), *flat))
        node = self.nodes.at(MARKER_KEY)
        if self.keys.parts > 1:
            self._ask(self._parts, lambda part: ("SET", self.keys.marker_key(epoch, part), raw))
            self._ask(self._parts, lambda part: ("SET", self.keys.epoch_key(part), epoch))
        former = node.set(MARKER_KEY, raw, get=True)
        self._epoch = marker
        if self.keys.parts > 1 and former and (name := _epoch_of(former)) != epoch:
            self._retire(name)
        return marker

    @_errors_named
    def keys_where(self, wanted: Callable[[str, str], bool]) -> list[bytes]:
        """Keys of every epoch and definition by (group, entity key). Looks at all keys, in steps."""
        pattern = self.keys.pattern()
        found = [name for node in self.nodes.every() for name in node.scan_iter(match=pattern, count=KEYS_PER_DROP)]
        return [name for name in found if wanted(*self.keys.group_and_key(name.decode()))]

    @_errors_named
    def unlink(self, names: Sequence[bytes]) -> int:
        """How many were there. Whoever folds one of them meanwhile finds another version, and reads again."""
        by_node: dict[int, tuple[Any, list[bytes]]] = {}
        for name in names:
            node = self.nodes.at(name.decode())
            by_node.setdefault(id(node), (node, []))[1].append(name)
        return sum(self._unlinked(node, own) for node, own in by_node.values())

    @_errors_named
    def drop_epoch(self, epoch: str) -> int:
        """SCAN and UNLINK in steps, so that readers wait for none of it."""
        check_epoch_name(epoch)
        marker = self.nodes.at(MARKER_KEY).get(MARKER_KEY)
        if marker is not None and marker.startswith(marker_prefix(epoch)):
            raise ValueError(f"epoch {epoch} is the published one; publish another before dropping it")
        pattern = self.keys.pattern("?" * DIGEST_CHARS, epoch)
        dropped = sum(
            self._unlinked(node, node.scan_iter(match=pattern, count=KEYS_PER_DROP)) for node in self.nodes.every()
        )
        self._ask(self._parts, lambda part: ("UNLINK", self.keys.positions_key(epoch, part)))
        self._retire(epoch)
        return dropped

    def close(self) -> None:
        self.nodes.close()

    def _bound(self) -> str:
        return (self._epoch or self.current_epoch()).epoch

    def _lost(self, why: str) -> NoEpoch:
        self._epoch = None
        return NoEpoch(
            f"{why}: it was flushed, replaced or republished. Call current_epoch() and resume from its offsets."
        )

    def _split(self, items: Sequence[T], key: Callable[[T], str]) -> tuple[dict[int, Sequence[T]], list[int]]:
        """Items by part, and where each of them, part after part, was; nowhere else, of one part."""
        if self.keys.parts == 1:
            return {0: items}, []
        places: dict[int, list[int]] = defaultdict(list)
        for place, item in enumerate(items):
            places[self.keys.part(key(item))].append(place)
        return {part: [items[place] for place in own] for part, own in places.items()}, [*chain(*places.values())]

    def _by_node(self, parts: Iterable[int]) -> Iterable[tuple[Any, list[int]]]:
        found: dict[int, tuple[Any, list[int]]] = {}
        for part in parts:
            node = self.nodes.at(self.keys.positions_key("", part))
            if id(node) in found:
                found[id(node)][1].append(part)
            else:
                found[id(node)] = node, [part]
        return found.values()

    def _ask(self, parts: Iterable[int], command: Callable[[int], tuple[Any, ...]]) -> dict[int, Any]:
        """One command of each part, in one round trip to each server; answers by part."""
        found: dict[int, Any] = {}
        for node, own in self._by_node(parts):
            with node.pipeline(transaction=False) as pipe:
                for part in own:
                    pipe.execute_command(*command(part))
                found |= zip(own, pipe.execute(), strict=True)
        return found

    def _all_held(self) -> dict[int, dict[bytes, bytes]]:
        epoch = self._bound()
        return self._ask(self._parts, lambda part: ("HGETALL", self.keys.positions_key(epoch, part)))

    def _positions(self) -> dict[int, dict[str, int]]:
        """Of each part."""
        return {part: _offsets(held) for part, held in self._all_held().items()}

    def _retire(self, epoch: str) -> None:
        """No part vouches for it any more: who reads or writes it looks for another."""
        if self.keys.parts > 1:
            self._ask(self._parts, lambda part: ("UNLINK", self.keys.marker_key(epoch, part)))

    def _unlinked(self, node: Any, names: Iterable[bytes]) -> int:
        """Each by itself where there are parts, for a cluster takes no command of two."""
        count = 0
        for chunk in chunks(names, KEYS_PER_DROP):
            with node.pipeline(transaction=False) as pipe:
                for one in [chunk] if self.keys.parts == 1 else [[name] for name in chunk]:
                    pipe.unlink(*one)
                count += sum(pipe.execute())
        return count

    def _head_keys(self, part: int) -> list[Any]:
        epoch = self._bound()
        return [self.keys.marker_key(epoch, part), self.keys.positions_key(epoch, part)]

    def _head_words(self, part: int) -> list[Any]:
        return [marker_prefix(self._bound()), self._holder, self._words[part]]

    def _forget_said(self) -> None:
        """words: the last of each part. unanswered: words, with their positions, that a part may have by now. said: positions, acknowledged."""
        self._words = [""] * self.keys.parts
        self._unanswered: dict[int, tuple[str, Mapping[str, int]]] = {}
        self._said: list[dict[str, int]] = [{} for _ in self._parts]

    def _hear(self, parts: Iterable[int]) -> None:
        """A server that was slow may have taken the word whose answer we did not wait for: it has not gone back."""
        silent = [part for part in parts if part in self._unanswered]
        if not silent:
            return
        epoch = self._bound()
        held = self._ask(silent, lambda part: ("HGET", self.keys.positions_key(epoch, part), self._holder))
        for part, word in held.items():
            if word is not None and word.decode() == self._unanswered[part][0]:
                self._heard(part)
            else:
                del self._unanswered[part]

    def _heard(self, part: int) -> None:
        word, positions = self._unanswered.pop(part)
        said, self._words[part] = self._said[part], word
        for name, at in positions.items():
            said[name] = max(at, said.get(name, at))

    def _call(self, part: int, prefix: str, expiry: int | None, writes: Sequence[Write]) -> list[Any]:
        keys, words = self._head_keys(part), [*self._head_words(part), "" if expiry is None else expiry]
        for key, expected, packed in writes:
            keys.append(prefix + key)
            words.append(b"" if expected == ABSENT else expected.to_bytes(VERSION_BYTES, "little"))
            words.append(envelope(expected + 1, packed))
        return [len(keys), *keys, *words]

    def _run(self, script: str, calls: Sequence[tuple[int, list[Any]]]) -> list[list[int]]:
        """Answers of the script, each call on its part's server. The calls of a part follow each other."""
        own: dict[int, list[list[Any]]] = defaultdict(list)
        for part, call in calls:
            own[part].append(call)
        answers: dict[int, list[Any]] = {}
        for node, parts in self._by_node(own):
            told = iter(scripted(node, script, [call for part in parts for call in own[part]]))
            answers |= {part: [*islice(told, len(own[part]))] for part in parts}
        return [self._checked(answer) for part in own for answer in answers[part]]

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


_key_of: Callable[[Write], str] = itemgetter(0)


def _in_order(found: list[T], places: list[int]) -> list[T]:
    """As they were before `_split`."""
    if not places:
        return found
    ordered = found.copy()
    for item, place in zip(found, places, strict=True):
        ordered[place] = item
    return ordered


def _offsets(held: Mapping[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(at) for name, at in held.items() if not name.startswith(HOLDER.encode())}


def _epoch_of(raw: bytes) -> str:
    """Whatever a marker names, of whatever version; empty for none."""
    try:
        return msgspec.json.decode(raw, type=EpochMarker).epoch
    except msgspec.DecodeError:
        return ""
