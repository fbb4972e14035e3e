"""What the online store promises, whoever keeps it: keys, versions, epochs and errors.

The store is a cache that can be rebuilt, never the truth. Its epoch marker is what tells a store
that holds the world from one that was flushed, failed over or belongs to somebody else; without a
valid marker nobody reads an entity as new and nobody folds.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from fraud_assets.features.registry import Group, Registry

MARKER_KEY = "fs:epoch"
POSITIONS_KEY = "fs-at:"  # and the epoch: a hash of positions and of the holders' last words
PART_MARKER_KEY = "fs-epoch:"  # and a part's tag and the epoch: a copy of the marker beside the part's states
PART_EPOCH_KEY = (
    "fs-named:"  # and a part's tag: the epoch that was published last, for when the marker's own node was emptied
)
# Of the keys on a Redis Cluster: few enough to say to each how far it goes, enough for a dozen masters. Who changes it publishes anew.
PARTS = 64
HOLDER = "holder:"
PUBLISHER = f"{HOLDER}publisher"  # says nothing, and that positions are kept
TOPIC = f"{HOLDER}topic:"  # and an entity topic's name: the id that its broker gave it
LAGGARD = f"{HOLDER}behind:"  # and who says so: positions that the states had, as JSON
# In a marker, after its prefix: the store has lost states that it had, and they are not folded again yet.
BEHIND = b',"behind":true'
DIGEST_CHARS = 12  # 48 bits tell apart the definitions one store will ever hold, and keys stay short
VERSION_BYTES = 8
WITHDRAWN = ".withdrawn"  # no name of an epoch has a dot
ABSENT = 0  # the version of a key that is not there; a stored version starts at 1

# Collected this long after the group's own retention, so that no clock difference between store and
# events can take a state that is still read.
EXPIRY_MARGIN_MS = 86_400_000


class StoreUnavailable(RuntimeError):
    """The store did not answer in time, refused, or is full; `reason` is one word for a metric."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class NoEpoch(RuntimeError):
    """The store holds no valid epoch, or another than the one this process was bound to.

    Stop folding, and call `current_epoch()` again: it gives the offsets to resume from. epoch: whose states it holds all the
    same, which another version of us may be serving; '' for none that is known.
    """

    def __init__(self, message: str, epoch: str = "") -> None:
        super().__init__(message)
        self.epoch = epoch


class Withdrawn(NoEpoch):
    """The states of `epoch` are there, and the log that they follow is not; see `withdraw`."""

    def __init__(self, epoch: str, why: str) -> None:
        super().__init__(f"epoch {epoch} was withdrawn: {why} Then run `python -m streaming rebuild-online`.", epoch)


class PartLost(NoEpoch):
    """The epoch is published, and the states of a part of its keys are gone: a node of the cluster was emptied."""


class StoreBehind(NoEpoch):
    """The store has lost states that it had, and they are not folded again yet; see `fall_behind`. It passes by itself."""


class WentBack(RuntimeError):
    """The store no longer holds what this process wrote: a replica without the last writes was promoted, or an older copy restored.

    What it lost must be folded again before anything is written after it; see `positions`.
    """


class UnfitStore(RuntimeError):
    """The server is set up in a way that would lose state silently; the message names the setting."""


class Versioned(NamedTuple):
    """A packed state and the version to give back to `compare_and_set`."""

    version: int
    packed: bytes


class Write(NamedTuple):
    """Store `packed` if the key still has `expected` (ABSENT for a new key); it becomes expected + 1."""

    key: str
    expected: int
    packed: bytes


class EpochMarker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which world the store holds.

    epoch: names the generation of keys; must stay the first field, for writers compare the prefix; and log the second, for
    readers compare up to its name. log: incarnation of the log its positions speak of. groups: view group to its digest's first
    characters. resume: `<entity topic>/<partition>` to the first offset not yet in the states. topics: ids of the entity
    topics that `resume` speaks of, as far as they were known. behind: see `fall_behind`. withdrawn: why; see `withdraw`.
    """

    epoch: str
    log: str
    groups: dict[str, str]
    resume: dict[str, int] = {}
    published_at_ms: int = 0
    topics: dict[str, str] = {}
    behind: bool = False
    withdrawn: str = ""


@runtime_checkable
class OnlineStates(Protocol):
    """The port that the worker and the snapshot use. Raises StoreUnavailable from every method."""

    def check(self) -> None:
        """Raises UnfitStore if the server would evict keys."""

    def current_epoch(self) -> EpochMarker:
        """The published epoch; this object is bound to it from now on. Raises NoEpoch."""

    def read_many(self, group: str, keys: Sequence[str]) -> list[Versioned | None]:
        """The state of each key, None for an unknown entity. Raises NoEpoch."""

    def compare_and_set(self, group: str, writes: Sequence[Write]) -> list[bool]:
        """Which writes were made; False where the key no longer has the version read. Raises NoEpoch, WentBack."""

    def positions(self) -> dict[str, int] | None:
        """How far the states of the epoch go, as the store itself says: `<entity topic>/<partition>` to the next offset.

        None for an epoch of a version that did not keep them.
        """

    def hold(self, owner: str, starts: Mapping[str, int]) -> None:
        """From now on write only while the store has all that was written through this object. Raises NoEpoch.

        owner: one name per writing process. starts: as for `advance`.
        """

    def advance(self, positions: Mapping[str, int]) -> None:
        """Say how far the states go now, after writing them; never less than was said. Raises NoEpoch, WentBack."""

    def topic_ids(self) -> dict[str, str]:
        """Of the entity topics that the positions speak of, as far as they are known."""

    def adopt_topics(self, ids: Mapping[str, str]) -> None:
        """Take these for the ids of topics that had none."""

    def fall_behind(self, owner: str, lost: Mapping[str, int]) -> None:
        """Say that the states had these positions and lost them: nobody decides by them until they have them again. Raises NoEpoch."""

    def lost(self) -> dict[str, int]:
        """What was said through this object that the store does not have any more."""

    def catch_up(self) -> bool:
        """Whether the states have again what anybody said that they had lost; readers then go on. Raises NoEpoch."""

    def withdraw(self, why: str) -> None:
        """The log that the states follow is gone: nobody reads or folds this epoch any more. why: one sentence, with the way out."""

    def load(self, epoch: str, group: str, states: Sequence[tuple[str, bytes]]) -> None:
        """Write whole states at version 1 under an epoch that is not published yet (the snapshot's way)."""

    def publish_epoch(
        self, epoch: str, *, log: str, resume: dict[str, int], now_ms: int, topics: Mapping[str, str] | None = None
    ) -> EpochMarker:
        """Make an epoch the one that everybody reads. Writers bound to another are refused from now on."""

    def drop_epoch(self, epoch: str) -> int:
        """Delete the keys of an epoch nobody reads any more; how many there were."""

    def close(self) -> None: ...


class KeySpace:
    """Keys of a registry's groups: `fs:<group digest>:<epoch>:<group>:<entity key>`.

    parts: into how many they are split. Each of several has its own marker and positions, all of them under one hash tag, so that a
    cluster keeps a part on one node, where a script can compare and write it in one step: `fs:{07}:<group digest>:…`.
    """

    def __init__(self, registry: Registry, parts: int = 1) -> None:
        self.parts = parts
        self._tags = [""] if parts == 1 else [f"{{{part:02}}}:" for part in range(parts)]
        self._groups = {group.name: group for group in registry.groups}
        self.digests = {name: group.digest[:DIGEST_CHARS] for name, group in self._groups.items()}
        self._expiry_ms = {name: _expiry_ms(group) for name, group in self._groups.items()}

    def part(self, key: str) -> int:
        """Of an entity key: an account and its pairs lie together, so that a payment asks few nodes."""
        return zlib.crc32(key.partition("|")[0].encode()) % self.parts if self.parts > 1 else 0

    def prefix(self, group: str, epoch: str, part: int = 0) -> str:
        return f"fs:{self._tags[part]}{self.digests[group]}:{epoch}:{group}:"

    def marker_key(self, epoch: str, part: int = 0) -> str:
        """What vouches for a part's states: the published marker itself where there is one part, else its copy."""
        return MARKER_KEY if self.parts == 1 else f"{PART_MARKER_KEY}{self._tags[part]}{epoch}"

    def epoch_key(self, part: int) -> str:
        return f"{PART_EPOCH_KEY}{self._tags[part]}"

    def positions_key(self, epoch: str, part: int = 0) -> str:
        return f"{POSITIONS_KEY}{self._tags[part]}{epoch}"

    def pattern(self, digest: str = "*", epoch: str = "*") -> str:
        """A glob of the keys of states."""
        return f"fs:{'' if self.parts == 1 else '{??}:'}{digest}:{epoch}:*:*"

    def group_and_key(self, name: str) -> tuple[str, str]:
        """Of a key of a state."""
        group, key = name.split(":", 4 if self.parts == 1 else 5)[-2:]
        return group, key

    def expiry_ms(self, group: str) -> int | None:
        """How long an idle key is kept; None for ever."""
        return self._expiry_ms[group]

    def marker(
        self, epoch: str, log: str, resume: dict[str, int], now_ms: int, topics: Mapping[str, str] | None
    ) -> EpochMarker:
        """Of states of our definitions."""
        check_epoch_name(epoch)
        return EpochMarker(
            epoch=epoch, log=log, groups=self.digests, resume=resume, published_at_ms=now_ms, topics=dict(topics or {})
        )

    def parse_marker(self, raw: bytes | None) -> EpochMarker:
        """The marker, if it is one and its states are of our definitions. Raises NoEpoch."""
        if raw is None:
            raise NoEpoch(f"{MARKER_KEY} is absent: the store was flushed or never filled. Run online_store_snapshot.")
        try:
            marker = msgspec.json.decode(raw, type=EpochMarker)
        except msgspec.DecodeError as error:
            raise NoEpoch(f"{MARKER_KEY} is no epoch marker ({error}). Run online_store_snapshot.") from None
        if marker.withdrawn:
            raise Withdrawn(marker.epoch.removesuffix(WITHDRAWN), marker.withdrawn)
        other = [name for name, digest in self.digests.items() if marker.groups.get(name) != digest]
        if other:
            shown = ", ".join(
                f"{name}@{self.digests[name]} (store: {marker.groups.get(name, 'none')})" for name in other[:3]
            )
            raise NoEpoch(
                f"the store holds states of other definitions than this process: {shown}. Run online_store_snapshot.",
                marker.epoch,
            )
        return marker


def check_epoch_name(epoch: str) -> None:
    """An epoch is part of every key and of the marker's compared prefix, so it is plain text."""
    if not (epoch.isascii() and epoch.replace("-", "").replace("_", "").isalnum() and len(epoch) <= 64):
        raise ValueError(f"epoch {epoch!r}: at most 64 ASCII letters, digits, '-' or '_'")


def marker_prefix(epoch: str) -> bytes:
    """The first bytes of the marker of this epoch: what a script compares without parsing JSON."""
    return b'{"epoch":"' + epoch.encode() + b'"'


def reader_prefix(epoch: str) -> bytes:
    """The same for readers: not that of a marker whose store is behind."""
    return marker_prefix(epoch) + b',"log":'


def withdrawn(marker: EpochMarker, why: str) -> bytes:
    """The marker that takes this one's place. Its digests are gone too, so that older versions take it for none."""
    return msgspec.json.encode(
        msgspec.structs.replace(marker, epoch=marker.epoch + WITHDRAWN, groups={}, resume={}, withdrawn=why)
    )


def envelope(version: int, packed: bytes) -> bytes:
    """What the store keeps: 8 bytes little-endian version, then the packed state."""
    return version.to_bytes(VERSION_BYTES, "little") + packed


def opened(value: bytes | None) -> Versioned | None:
    """The inverse of `envelope`; None for an absent key."""
    if value is None:
        return None
    return Versioned(int.from_bytes(value[:VERSION_BYTES], "little"), value[VERSION_BYTES:])


def _expiry_ms(group: Group) -> int | None:
    if not group.expires:
        return None
    return max(unit.view.retention_ms or 0 for unit in group.units) + EXPIRY_MARGIN_MS
