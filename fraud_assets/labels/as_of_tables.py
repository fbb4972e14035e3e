"""Tables made as of a day, beside the lake: `<root>/<table>/as_of=<day>/data.parquet`, replaced at once."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_assets.stores.files import open_files

FILE = "data.parquet"


def save(root: str, table: str, as_of: str, rows: pa.Table) -> str:
    """Write the table of a day; its path."""
    files = open_files(root)
    folder = _folder(files.root, table, as_of)
    files.replace_folder(folder, FILE, rows)
    return f"{files.scheme}{folder}/{FILE}"


def load(root: str, table: str, as_of: str, columns: Sequence[str] | None = None) -> pa.Table:
    """What `save` wrote. Raises FileNotFoundError, naming the path."""
    files = open_files(root)
    path = f"{_folder(files.root, table, as_of)}/{FILE}"
    names = None if columns is None else list(columns)
    return pq.read_table(path, columns=names, filesystem=files.filesystem, partitioning=None)


def _folder(root: str, table: str, as_of: str) -> str:
    return f"{root}/{table}/as_of={as_of}"
