"""Packed states in Parquet, as a snapshot computed them: an emptied store is filled from them without folding.

`<root>/_states/<epoch>/<group>-<n>.parquet` (entity key, packed state), and last `whole.parquet` with the epoch's
marker: a folder without it is what a crash left, and is never read. Readers of the lake skip names that start with `_`.
"""

from collections.abc import Iterator, Sequence

import msgspec
import pyarrow as pa
import pyarrow.fs as pafs

from fraud_assets.stores.files import Files, open_files
from fraud_assets.stores.online_port import EpochMarker
from fraud_assets.stores.parquet import read_parquet

FOLDER = "_states"
WHOLE = "whole.parquet"
# Two generations: the newest, and one more should it be found wrong.
KEPT = 2
# Bounds the memory of writer and reader; states of a ticket seller have 1 to 10 KB.
BYTES_PER_FILE = 64 * 1024 * 1024
STATES = pa.schema([pa.field("key", pa.string(), False), pa.field("packed", pa.large_binary(), False)])
MARKER = pa.schema([pa.field("marker", pa.string(), False)])


class StateFiles:
    """Kept snapshots of one lake."""

    def __init__(self, lake_uri: str) -> None:
        self._files: Files = open_files(lake_uri)
        self._root = f"{self._files.root}/{FOLDER}"

    def writer(self, epoch: str) -> "StateWriter":
        return StateWriter(self._files, f"{self._root}/{epoch}")

    def markers(self) -> list[EpochMarker]:
        """Whole snapshots, newest first."""
        found = []
        for folder in self._listed(self._root):
            if any(path.endswith(f"/{WHOLE}") for path in self._listed(folder)):
                table = read_parquet(self._files.filesystem, f"{folder}/{WHOLE}", MARKER)
                found.append(msgspec.json.decode(table["marker"][0].as_py(), type=EpochMarker))
        return sorted(found, key=lambda marker: marker.published_at_ms, reverse=True)

    def read(self, epoch: str, group: str) -> Iterator[list[tuple[str, bytes]]]:
        """(key, packed state) of a group, a file at a time."""
        for path in sorted(self._listed(f"{self._root}/{epoch}")):
            if path.rpartition("/")[2].rpartition("-")[0] == group:
                table = read_parquet(self._files.filesystem, path, STATES)
                yield list(zip(table["key"].to_pylist(), table["packed"].to_pylist(), strict=True))

    def drop_old(self, kept: int = KEPT) -> int:
        """Keep the newest; how many went. A folder without an end stays: it may be being written."""
        old = self.markers()[kept:]
        for marker in old:
            # The marker first: a reader then sees no whole snapshot, rather than half of one.
            folder = f"{self._root}/{marker.epoch}"
            self._files.delete([f"{folder}/{WHOLE}"])
            self._files.delete(self._listed(folder))
        return len(old)

    def _listed(self, folder: str) -> list[str]:
        return [
            info.path for info in self._files.filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
        ]


class StateWriter:
    """Writes one snapshot: groups one after the other, then `finish`."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._folder = folder
        self._group = ""
        self._number = 0
        self._size = 0
        self._keys: list[str] = []
        self._packed: list[bytes] = []

    def add(self, group: str, keys: Sequence[str], packed: Sequence[bytes]) -> None:
        if group != self._group:
            self._flush()
            self._group, self._number = group, 0
        self._keys += keys
        self._packed += packed
        self._size += sum(map(len, packed))
        if self._size >= BYTES_PER_FILE:
            self._flush()

    def finish(self, marker: EpochMarker) -> None:
        """From now on it is a snapshot."""
        self._flush()
        said = msgspec.json.encode(marker).decode()
        self._files.put(f"{self._folder}/{WHOLE}", pa.table({"marker": [said]}, schema=MARKER))

    def _flush(self) -> None:
        if self._keys:
            table = pa.table({"key": self._keys, "packed": self._packed}, schema=STATES)
            self._files.put(f"{self._folder}/{self._group}-{self._number:05d}.parquet", table)
            self._number += 1
        self._keys, self._packed, self._size = [], [], 0
