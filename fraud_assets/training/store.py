"""Training sets at rest, and the scores to expect of their models: a file for each as-of day."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fraud_assets.stores.files import open_files
from fraud_assets.stores.keyed_tables import FILE, get_table, of_day, put_table
from fraud_assets.training.dataset import ROW_COLUMNS, ROW_PREFIX, WEIGHT, TrainingSet, Window, features_of

SETS, SCORES = "training_set", "validation_scores"


def save(root: str, as_of: str, found: TrainingSet) -> str:
    """Write `<root>/training_set/as_of=<day>/`, at once; its path."""
    return put_table(root, SETS, of_day(as_of), found.table())


def load(root: str, as_of: str) -> TrainingSet:
    """What `save` wrote. Raises FileNotFoundError, naming the path."""
    table = get_table(root, SETS, of_day(as_of))
    kept = table.schema.metadata or {}
    window = Window(*(int(kept[key]) for key in (b"as_of_ms", b"from_ms", b"to_ms")))
    names, features = features_of(table)
    is_fraud = table[f"{ROW_PREFIX}is_fraud"].to_numpy()
    rows = table.select([f"{ROW_PREFIX}{name}" for name in ROW_COLUMNS]).rename_columns(list(ROW_COLUMNS))
    weight = table[WEIGHT].to_numpy() if WEIGHT in table.column_names else None
    unreadable = int(kept.get(b"unreadable", b"0"))  # sets of before it was counted have none
    unspoken = int(kept.get(b"unspoken", b"0"))
    return TrainingSet(window, names, rows, features, is_fraud, int(kept[b"served"]), weight, unreadable, unspoken)


def schema(root: str, as_of: str) -> pa.Schema:
    """Columns of the set that `save` wrote, as its file has them."""
    return _footer(root, as_of).schema.to_arrow_schema()


def row_count(root: str, as_of: str) -> int:
    """Rows of the set that `save` wrote, as its file says."""
    return int(_footer(root, as_of).num_rows)


def digest(root: str, as_of: str) -> str:
    """Of the set that `save` wrote, as its file says; `load(...).digest` computes it from the rows."""
    return str((schema(root, as_of).metadata or {}).get(b"digest", b"").decode())


def days(root: str, table: str = SETS) -> list[str]:
    """As-of days that have a training set, ascending."""
    files = open_files(root)
    found = files.filesystem.get_file_info(pafs.FileSelector(f"{files.root}/{table}", allow_not_found=True))
    return sorted(item.base_name.removeprefix("as_of=") for item in found if item.base_name.startswith("as_of="))


def save_scores(root: str, as_of: str, scores: npt.NDArray[np.float32]) -> str:
    """What the chosen candidate gave to the validation days, from which it had not learnt: so live scores should look.

    Not the final model's scores of its own training rows: those it has seen, and rates them too surely.
    """
    return put_table(root, SCORES, of_day(as_of), pa.table({"score": scores}))


def load_scores(root: str, as_of: str) -> npt.NDArray[np.float64]:
    """(m,) what `save_scores` wrote; none where no model was fitted to that day's set."""
    if as_of not in days(root, SCORES):
        return np.empty(0, np.float64)
    found: npt.NDArray[np.float64] = get_table(root, SCORES, of_day(as_of))["score"].to_numpy().astype(np.float64)
    return found


def _footer(root: str, as_of: str) -> pq.FileMetaData:
    files = open_files(root)
    return pq.read_metadata(f"{files.root}/{SETS}/{of_day(as_of)}/{FILE}", filesystem=files.filesystem)
