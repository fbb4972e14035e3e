"""The promotion log: every step of every rollout, by whom, why and on what evidence; only ever appended to.

    <model_dir>/promotions.jsonl   a line a step: {"sha256": …, "entry": {…}}, each entry naming the hash of the one before

A step is taken in this order, by one process at a time:
    1. the line is appended and flushed to the disk: from here on the step is taken;
    2. the champion file, if the champion changes;
    3. the pointer.
Whoever dies in between leaves the last ones undone, and the next process does them (`settle`). Half a line at the
end, which a crash within 1 leaves, is moved to `promotions.torn`: nobody was told of it.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fraud_assets.models.artifact import Champion, champion_of, flush_folder, point_to, read_champion
from fraud_assets.models.manifest import RefusedModel, Sha256, sha256
from fraud_assets.rollout.machine import Appoint, IllegalTransition, Rollout, Step, apply
from fraud_assets.rollout.pointer import Pointer, beside, read_pointer, write_pointer

LOG_FILE = "promotions.jsonl"
TORN_FILE = "promotions.torn"
LOCK_FILE = ".rollout.lock"
# A step takes milliseconds; who holds the lock for longer hangs, and a person at a rollback must learn of it.
LOCK_WAIT_S = 10.0
LOCK_POLL_S = 0.02
BESIDE_THE_LOG = "publish_champion"


class Overtaken(RuntimeError):
    """Somebody else took a step meanwhile. Look again, and decide again."""


class Busy(TimeoutError):
    """Another process holds the log and does not let go."""


class BrokenLog(ValueError):
    """A line that is not what was written, or not there. The message says which."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step, and the rollout it made. previous_sha256: of the entry before, empty for the first."""

    previous_sha256: Sha256 | None
    step: Step
    rollout: Rollout


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """sha256: of the entry's bytes as they stand in the file."""

    sha256: Sha256
    entry: msgspec.Raw


class Read(msgspec.Struct, frozen=True):
    """entries; whole: bytes that hold them; head_sha256: of the last; torn: what stands behind it."""

    entries: list[Entry]
    whole: int
    head_sha256: str | None
    torn: bytes

    @property
    def rollout(self) -> Rollout:
        return self.entries[-1].rollout if self.entries else Rollout()


class PromotionLog:
    """Of one model folder. `settle`, then `move` from what it returned; both wait for other processes."""

    def __init__(self, model_dir: Path) -> None:
        self._model_dir = model_dir
        self._path = model_dir / LOG_FILE

    def settle(self, at_ms: int) -> Rollout:
        """The newest rollout, with what a crash left undone done, and a champion published beside the log recorded.

        Raises BrokenLog, Busy.
        """
        with self._alone():
            return self._settled(at_ms).rollout

    def move(self, seen: Rollout, step: Step) -> Rollout:
        """Take a step from `seen`; scorers follow within a second.

        Raises Overtaken if that is not the newest, IllegalTransition, RefusedModel for a version whose files are not
        what they were, BrokenLog, Busy. Then the step is not taken, and what `settle` does is done.
        """
        with self._alone():
            read = self._settled(step.at_ms)
            if read.rollout != seen:
                raise Overtaken(
                    f"Overtaken: the log is at step {read.rollout.sequence} ({read.rollout.phase}), this one was decided at"
                    f" {seen.sequence} ({seen.phase}). Look at the status and decide again."
                )
            self._vouch(seen, apply(seen, step))
            return self._take(read, step).rollout

    def entries(self) -> list[Entry]:
        """Every step, oldest first. Raises BrokenLog."""
        return self._read().entries

    def verify(self) -> int:
        """Steps, if each follows from the one before and the pointer is the last one's. Raises BrokenLog."""
        read, rollout = self._read(), Rollout()
        for number, entry in enumerate(read.entries, 1):
            try:
                rollout = apply(rollout, entry.step)
            except IllegalTransition as error:
                raise BrokenLog(f"BrokenLog: line {number} of {self._path}: {error}") from None
            if rollout != entry.rollout:
                raise BrokenLog(f"BrokenLog: line {number} of {self._path} names another rollout than its steps make")
        pointer = read_pointer(self._model_dir)
        if read.head_sha256 != (pointer.entry_sha256 if pointer else None) or (pointer and pointer.rollout != rollout):
            raise BrokenLog(
                f"BrokenLog: the pointer is not that of the log's last step, {rollout.sequence}."
                " If a process died, `python -m fraud_assets.rollout reconcile` finishes what it began."
            )
        return len(read.entries)

    # ------------------------------------------------------------------------------- under the lock

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer; a process that dies lets go."""
        self._model_dir.mkdir(parents=True, exist_ok=True)
        with (self._model_dir / LOCK_FILE).open("ab") as lock:
            deadline = time.monotonic() + LOCK_WAIT_S
            while not _locked(lock.fileno()):
                if time.monotonic() > deadline:
                    raise Busy(
                        f"Busy: another process has held {lock.name} for {LOCK_WAIT_S:.0f} s. End it, and repeat."
                    )
                time.sleep(LOCK_POLL_S)
            yield

    def _settled(self, at_ms: int) -> Read:
        pointer = self._pointer()
        read = self._repaired(pointer)
        if pointer is not None and pointer.rollout.sequence == read.rollout.sequence:
            published = self._published()
            if published is not None and beside(read.rollout, published) != read.rollout:
                return self._take(read, _found(published, at_ms))
            if published is None and read.rollout.champion:
                point_to(self._model_dir, read.rollout.champion)
            return read
        if not read.entries:
            published = self._published()
            return self._take(read, _found(published, at_ms)) if published else read
        self._effect(read)
        return read

    def _repaired(self, pointer: Pointer | None) -> Read:
        """What the file holds, and half a line at its end put aside. Raises BrokenLog if more than that is wrong."""
        read = self._read()
        if pointer is not None:
            sequence = pointer.rollout.sequence
            if sequence > len(read.entries):
                raise BrokenLog(
                    f"BrokenLog: {self._path} has {len(read.entries)} whole lines, and the pointer follows line {sequence}."
                    " Bring the log back from a copy of the folder; scorers go on with the pointer."
                )
            if sequence == len(read.entries) and pointer.entry_sha256 != read.head_sha256:
                raise BrokenLog(f"BrokenLog: line {sequence} of {self._path} is not the one that the pointer follows")
        if read.torn:
            with (self._model_dir / TORN_FILE).open("ab") as aside:
                aside.write(read.torn + b"\n")
            os.truncate(self._path, read.whole)
        return read

    def _pointer(self) -> Pointer | None:
        """None also for one that cannot be read: the log knows better."""
        try:
            return read_pointer(self._model_dir)
        except RefusedModel:
            return None

    def _published(self) -> Champion | None:
        """None also for a file that cannot be read: the log knows better."""
        try:
            return read_champion(self._model_dir)
        except RefusedModel:
            return None

    def _vouch(self, before: Rollout, after: Rollout) -> None:
        """Who newly serves or challenges is there, as it was when its hash was taken. Raises RefusedModel."""
        known = {before.champion, before.challenger} if before.champion == after.champion else {before.champion}
        for named in {after.champion, after.challenger} - known - {None}:
            assert named is not None
            try:
                found = champion_of(self._model_dir, named.version)
            except OSError as error:
                raise RefusedModel("unreadable", f"{self._model_dir / named.version}: {error.strerror}") from None
            if found != named:
                raise RefusedModel(
                    "hash_mismatch", f"the manifest of {named.version} is not the one that was vouched for"
                )

    def _take(self, read: Read, step: Step) -> Read:
        entry = Entry(previous_sha256=read.head_sha256, step=step, rollout=apply(read.rollout, step))
        raw = msgspec.json.encode(entry)
        line = msgspec.json.encode(_Line(sha256(raw), msgspec.Raw(raw))) + b"\n"
        append(self._path, line)
        taken = Read([*read.entries, entry], read.whole + len(line), sha256(raw), b"")
        self._effect(taken)
        return taken

    def _effect(self, read: Read) -> None:
        """What follows from the last line: the champion file, then the pointer."""
        assert read.head_sha256 is not None
        champion = read.rollout.champion
        if champion is not None and champion != self._published():
            point_to(self._model_dir, champion)
        write_pointer(self._model_dir, Pointer(rollout=read.rollout, entry_sha256=read.head_sha256))

    def _read(self) -> Read:
        raw = self._path.read_bytes() if self._path.exists() else b""
        entries: list[Entry] = []
        whole, head = 0, None
        while whole < len(raw):
            end = raw.find(b"\n", whole) + 1
            found = _entry(raw[whole:end]) if end else None
            if found is None or found[0].previous_sha256 != head or found[0].rollout.sequence != len(entries) + 1:
                if end and end < len(raw):
                    raise BrokenLog(
                        f"BrokenLog: line {len(entries) + 1} of {self._path} is not the one that was written there"
                    )
                break
            entries.append(found[0])
            whole, head = end, found[1]
        return Read(entries, whole, head, raw[whole:])


def append(path: Path, line: bytes) -> None:
    """One line, on the disk when this returns; a disk that refuses some of it is left as it was."""
    is_new = not path.exists()
    with path.open("ab", buffering=0) as file:
        start = os.fstat(file.fileno()).st_size
        try:
            if file.write(line) != len(line):
                raise OSError(f"{path}: the disk took only a part of the line")
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), start)
            raise
    if is_new:
        flush_folder(path.parent)


def _entry(line: bytes) -> tuple[Entry, str] | None:
    """The entry of a line and its hash; None if it is not what was written."""
    try:
        held = msgspec.json.decode(line, type=_Line)
        if sha256(bytes(held.entry)) != held.sha256:
            return None
        return msgspec.json.decode(held.entry, type=Entry), held.sha256
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _found(published: Champion, at_ms: int) -> Appoint:
    why = "found in the champion file, which was written beside the log"
    return Appoint(at_ms=at_ms, who=BESIDE_THE_LOG, why=why, champion=published)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
