"""Training sets at rest: one Parquet file for each as-of day."""

import numpy as np
import pyarrow.parquet as pq

from fraud_assets.stores.files import open_files
from fraud_assets.training.dataset import ROW_COLUMNS, ROW_PREFIX, TrainingSet, Window

FILE = "data.parquet"


def save(root: str, as_of: str, found: TrainingSet) -> str:
    """Write `<root>/training_set/as_of=<day>/`, at once; its path."""
    files = open_files(root)
    folder = f"{files.root}/training_set/as_of={as_of}"
    files.replace_folder(folder, FILE, found.table())
    return f"{files.scheme}{folder}/{FILE}"


def load(root: str, as_of: str) -> TrainingSet:
    """What `save` wrote. Raises FileNotFoundError, naming the path."""
    files = open_files(root)
    table = pq.read_table(
        f"{files.root}/training_set/as_of={as_of}/{FILE}", filesystem=files.filesystem, partitioning=None
    )
    kept = table.schema.metadata or {}
    window = Window(*(int(kept[key]) for key in (b"as_of_ms", b"from_ms", b"to_ms")))
    names = tuple(name for name in table.column_names if not name.startswith(ROW_PREFIX))
    features = np.empty((table.num_rows, len(names)), np.float32)
    for place, name in enumerate(names):
        features[:, place] = table[name].to_numpy()
    is_fraud = table[f"{ROW_PREFIX}is_fraud"].to_numpy()
    rows = table.select([f"{ROW_PREFIX}{name}" for name in ROW_COLUMNS]).rename_columns(list(ROW_COLUMNS))
    return TrainingSet(window, names, rows, features, is_fraud, int(kept[b"served"]))
