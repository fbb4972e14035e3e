"""The ids of the topics whose records a lake holds, beside its tables."""

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.fs as pafs

from fraud_assets.stores.files import Files, open_files
from fraud_assets.stores.parquet import read_parquet

FOLDER = "_topics"
ID = pa.schema([pa.field("topic", pa.string(), False), pa.field("id", pa.string(), False)])


class LakeTopicIds:
    """Ids of the topics whose records a lake holds: `<root>/_topics/<topic>.parquet`. Readers of the lake skip names that start with `_`."""

    def __init__(self, lake_uri: str) -> None:
        self._files: Files = open_files(lake_uri)

    def read(self, names: Iterable[str]) -> dict[str, str]:
        """Of those that have one."""
        infos = [(name, self._path(name)) for name in names]
        kinds = self._files.filesystem.get_file_info([path for _, path in infos])
        there = [at for at, info in zip(infos, kinds, strict=True) if info.type == pafs.FileType.File]
        return {name: read_parquet(self._files.filesystem, path, ID)["id"][0].as_py() for name, path in there}

    def adopt(self, ids: Mapping[str, str]) -> None:
        for name, topic_id in ids.items():
            self._files.put(self._path(name), pa.table({"topic": [name], "id": [topic_id]}, schema=ID))

    def _path(self, name: str) -> str:
        return f"{self._files.root}/{FOLDER}/{name}.parquet"
