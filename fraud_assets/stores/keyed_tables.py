"""Tables beside the lake, one for each key: `<root>/<table>/<key>/data.parquet`, replaced at once."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fraud_assets.stores.files import open_files

FILE = "data.parquet"


def of_day(as_of: str) -> str:
    """The key of what was made as of a day."""
    return f"as_of={as_of}"


def put_table(root: str, table: str, key: str, rows: pa.Table) -> str:
    """Write `<root>/<table>/<key>/`; its path. key: such as `as_of=2026-10-15`."""
    files = open_files(root)
    folder = f"{files.root}/{table}/{key}"
    files.replace_folder(folder, FILE, rows)
    return f"{files.scheme}{folder}/{FILE}"


def keys(root: str, table: str) -> list[str]:
    """Of what `put_table` wrote, ascending."""
    files = open_files(root)
    found = files.filesystem.get_file_info(pafs.FileSelector(f"{files.root}/{table}", allow_not_found=True))
    return sorted(item.base_name for item in found if "=" in item.base_name and item.base_name[0] != ".")


def drop_table(root: str, table: str, key: str) -> None:
    """Forget what `put_table` wrote; what is gone already is no error."""
    files = open_files(root)
    folder = f"{files.root}/{table}/{key}"
    if files.filesystem.get_file_info(folder).type is pafs.FileType.Directory:
        files.filesystem.delete_dir(folder)


def get_table(root: str, table: str, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """What `put_table` wrote. Raises FileNotFoundError, naming the path."""
    files = open_files(root)
    path = f"{files.root}/{table}/{key}/{FILE}"
    names = None if columns is None else list(columns)
    return pq.read_table(path, columns=names, filesystem=files.filesystem, partitioning=None)
