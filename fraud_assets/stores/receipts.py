"""Receipts of erasures: who was erased, as a keyed token, when, by whom, why, and how much of it where.

    <lake>/_erasures/000001.json   {"sha256": …, "record": {…}}, each record naming the digest of the one before

An erasure is two records or more. *Begun* is written before anything is deleted and names the chain links that will be gone, so that a verifier
who comes in between finds them vouched for, and again when more came meanwhile; *finished* says that nothing was left. Readers of the lake skip names that start with `_`.
"""

import hashlib
import os
import secrets
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import msgspec
import pyarrow.fs as pafs

from fraud_assets.stores.files import LocalFiles, open_files

FOLDER = "_erasures"


class BrokenReceipts(ValueError):
    """A receipt that is not what was written, or not there. The message says which."""


class ReceiptTaken(RuntimeError):
    """Another erasure wrote the receipt of this number meanwhile: begin again."""


class Stage(StrEnum):
    BEGUN = "begun"
    FINISHED = "finished"


class Remains(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where something of the person still is. until_ms: when it is gone by itself at the latest; None where nobody can say."""

    place: str
    until_ms: int | None
    why: str


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stage of an erasure.

    receipt: its number, the same in all of its records. subject: keyed token of the account (`contracts/tokens.py: subject_token`): who has the key and an
    id can ask whether it was erased, and nobody else can ask anything. counts: rows, keys or files by place; of `begun` what was
    found, of `finished` what was deleted by the run that finished. links: heads of the chain links whose records go. first_offsets:
    "<topic>/<partition>" to the lowest log offset that goes. payments: the log offsets of his transactions, by the same names, which find
    his rows where no account is named. epoch: the online store's, whose shared states still count the events.
    """

    receipt: str
    stage: Stage
    at_ms: int
    subject: str
    by: str
    reason: str
    counts: dict[str, int]
    links: list[str] = []
    first_offsets: dict[str, int] = {}
    payments: dict[str, list[int]] = {}
    epoch: str = ""
    remains: list[Remains] = []
    previous_sha256: str | None = None


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """sha256: of the record's bytes as they stand in the file."""

    sha256: str
    record: msgspec.Raw


class Receipts:
    """Of one lake; only ever appended to."""

    def __init__(self, lake_uri: str) -> None:
        self._files = open_files(lake_uri)
        self._root = f"{self._files.root}/{FOLDER}"

    def records(self) -> list[Record]:
        """All, oldest first. Raises BrokenReceipts."""
        return [record for record, _ in self._read()]

    def open(self, subject: str) -> list[Record]:
        """The records of an erasure of this person that was begun and not finished; none if there is none."""
        records = [record for record in self.records() if record.subject == subject]
        finished = {record.receipt for record in records if record.stage is Stage.FINISHED}
        return [record for record in records if record.receipt not in finished]

    def vouched(self) -> frozenset[str]:
        """Heads of all links whose records were erased."""
        return frozenset(link for record in self.records() for link in record.links)

    def append(self, record: Record) -> Record:
        """The record as it was written, linked to the one before; an empty receipt becomes the next number.

        Raises ReceiptTaken, BrokenReceipts.
        """
        before = self._read()
        linked = msgspec.structs.replace(
            record,
            receipt=record.receipt or f"erasure-{1 + len({one.receipt for one, _ in before}):06d}",
            previous_sha256=before[-1][1] if before else None,
        )
        said = msgspec.json.encode(linked)
        line = msgspec.json.encode(_Line(hashlib.sha256(said).hexdigest(), msgspec.Raw(said)))
        self._put(f"{len(before) + 1:06d}.json", line + b"\n")
        return linked

    def _read(self) -> list[tuple[Record, str]]:
        found, previous = list[tuple[Record, str]](), None
        for number, path in enumerate(self._listed(), 1):
            if path.rpartition("/")[2] != f"{number:06d}.json":
                raise BrokenReceipts(f"BrokenReceipts: {self._root} lacks {number:06d}.json")
            record, sha256 = self._parsed(path)
            if record.previous_sha256 != previous:
                raise BrokenReceipts(f"BrokenReceipts: {path} does not follow the one before it")
            found.append((record, sha256))
            previous = sha256
        return found

    def _parsed(self, path: str) -> tuple[Record, str]:
        with self._files.filesystem.open_input_stream(path) as source:
            whole = source.read()
        try:
            line = msgspec.json.decode(whole, type=_Line)
            if hashlib.sha256(line.record).hexdigest() == line.sha256:
                return msgspec.json.decode(line.record, type=Record), line.sha256
        except msgspec.DecodeError:
            pass
        raise BrokenReceipts(f"BrokenReceipts: {path} is not what was written")

    def _listed(self) -> Iterable[str]:
        found = self._files.filesystem.get_file_info(pafs.FileSelector(self._root, allow_not_found=True))
        return sorted(info.path for info in found if info.base_name[0] not in "._")

    def _put(self, name: str, said: bytes) -> None:
        """Whole or not at all; on a folder also only once, whoever else writes."""
        path = f"{self._root}/{name}"
        if not isinstance(self._files, LocalFiles):
            with self._files.filesystem.open_output_stream(path) as sink:
                sink.write(said)
            return
        hidden = Path(self._root) / f".{name}.{secrets.token_hex(4)}"
        hidden.parent.mkdir(parents=True, exist_ok=True)
        with hidden.open("wb") as sink:
            sink.write(said)
            sink.flush()
            os.fsync(sink.fileno())
        try:
            os.link(hidden, path)
        except FileExistsError:
            raise ReceiptTaken(f"ReceiptTaken: {path} was written meanwhile; run the command again.") from None
        finally:
            hidden.unlink()
