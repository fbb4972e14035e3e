"""What was folded of each day of decisions, kept beside the lake under names that are digests of what is in them.

`<root>/_chains/<sha256>.parquet`: a day's fold, or the index of all days. Who may write the lake may write here, too. But the
digest of the index is kept elsewhere, and the index has those of the folds: what was altered or is gone is not
found, and its day is read again. Readers of the lake skip names that start with `_`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection
from typing import TypeVar

import msgspec
import pyarrow as pa
import pyarrow.fs as pafs

from fraud_assets.contracts.chain_fold import Day
from fraud_assets.stores.decision_chains import ERASED, TABLE
from fraud_assets.stores.files import Files, open_files
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.parquet import read_parquet

FOLDER = "_chains"
# Raised when a fold gets another form or another meaning: then every day is read again.
FORMAT = 1
COLUMN = pa.schema([pa.field("folded", pa.large_binary(), False)])

Kind = TypeVar("Kind", bound=msgspec.Struct)


class KeptDay(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """files: digest of the names, sizes and times of the files that were read. fold: name of what was made of them.

    night: the run that read them, counted from 1.
    """

    files: str
    fold: str
    night: int


class Index(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All days that were folded."""

    format: int
    night: int
    days: dict[str, KeptDay]


class ChainDays:
    """Folds of one lake. A name is a SHA-256 of the content."""

    def __init__(self, lake_uri: str) -> None:
        self._files: Files = open_files(lake_uri)
        self._root = f"{self._files.root}/{FOLDER}"

    def index(self, name: str) -> Index:
        """Empty if there is none of that name, or one of another format."""
        found = self._read(name, Index)
        return found if found is not None and found.format == FORMAT else Index(FORMAT, 0, {})

    def fold(self, name: str) -> Day | None:
        return self._read(name, Day)

    def put(self, what: Index | Day) -> str:
        """Its name."""
        said = msgspec.msgpack.encode(what)
        name = hashlib.sha256(said).hexdigest()
        self._files.put(self._path(name), pa.table({"folded": [said]}, schema=COLUMN))
        return name

    def drop_others(self, names: Collection[str]) -> None:
        """Whatever file is not of these names."""
        listed = self._files.filesystem.get_file_info(pafs.FileSelector(self._root, allow_not_found=True))
        known = {self._path(name) for name in names}
        self._files.delete([info.path for info in listed if info.is_file and info.path not in known])

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}.parquet"

    def _read(self, name: str, kind: type[Kind]) -> Kind | None:
        """None for what is not there, or not what its name says."""
        if not name:
            return None
        try:
            said = read_parquet(self._files.filesystem, self._path(name), COLUMN)["folded"].to_pylist()
        except (OSError, pa.ArrowException):  # gone, or no such file any more; a store that is gone shows at the lake
            return None
        if len(said) != 1 or said[0] is None or hashlib.sha256(said[0]).hexdigest() != name:
            return None
        try:
            return msgspec.msgpack.decode(said[0], type=kind)
        except msgspec.ValidationError:  # of another version
            return None


def listed_days(lake: Lake) -> dict[str, str]:
    """A digest for each day of decisions, of the names, sizes and times of its files: another one where a file was written.

    A file that somebody alters in place, with its size and its time as they were, has the same.
    """
    files = defaultdict[str, list[str]](list)
    for day, info in (*lake.files(TABLE), *lake.files(ERASED)):
        files[day].append(f"{info.base_name} {info.size} {info.mtime_ns}")
    return {day: hashlib.sha256("\n".join(of).encode()).hexdigest() for day, of in files.items()}
