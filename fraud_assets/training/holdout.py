"""The rows that a candidate and a champion are compared on: the newest fifth of the candidate's window.

Kept beside the training sets, one for each version: gates judge in runs of their own, and a later candidate may ask what
this one gave to rows that it has learnt from meanwhile.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraud_assets.models.manifest import RefusedModel
from fraud_assets.stores.frames import to_arrow
from fraud_assets.stores.keyed_tables import drop_table, get_table, keys, put_table
from fraud_assets.training.as_of import manifest_of
from fraud_assets.training.dataset import ROW_PREFIX, features_of

HOLDOUTS = "holdout"
SLICE_PREFIX = f"{ROW_PREFIX}slice_"
_ROW = ("id", "event_time_ms", "is_fraud", "euro_cents", "score")

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Holdout:
    """All (n,) but names and features (n, n_features): identity, time, verdict, amount, slices by name.

    score: of a model with the version's parameters that learnt only from what is older than these rows.
    """

    names: tuple[str, ...]
    ids: Sequence[str]
    event_time_ms: npt.NDArray[np.int64]
    is_fraud: Flags
    euro_cents: npt.NDArray[np.float64]
    score: Floats
    slices: Mapping[str, Flags]
    features: Floats

    def __len__(self) -> int:
        return len(self.is_fraud)


def save_holdout(root: str, version: str, found: Holdout) -> str:
    """Write `<root>/holdout/model=<version>/`, at once; its path."""
    values = (found.ids, found.event_time_ms, found.is_fraud, found.euro_cents, found.score)
    rows = {f"{ROW_PREFIX}{name}": pa.array(value) for name, value in zip(_ROW, values, strict=True)}
    rows |= {f"{SLICE_PREFIX}{name}": pa.array(member) for name, member in found.slices.items()}
    features = to_arrow(found.names, found.features)
    rows |= dict(zip(features.column_names, features.columns, strict=True))
    return put_table(root, HOLDOUTS, _key(version), pa.table(rows))


def load_holdout(root: str, version: str) -> Holdout:
    """What `save_holdout` wrote. Raises FileNotFoundError, naming the path."""
    rows = get_table(root, HOLDOUTS, _key(version))
    names, features = features_of(rows)
    slices = {
        name.removeprefix(SLICE_PREFIX): rows[name].to_numpy()
        for name in rows.column_names
        if name.startswith(SLICE_PREFIX)
    }
    ids = rows[f"{ROW_PREFIX}id"].to_pylist()
    time_ms, is_fraud, cents, score = (rows[f"{ROW_PREFIX}{name}"].to_numpy() for name in _ROW[1:])
    return Holdout(names, ids, time_ms, is_fraud, cents, score, slices, features)


def unseen_scores(root: str, version: str) -> dict[str, float]:
    """Score by identity of a version's own holdout; none where it is no longer kept."""
    try:
        rows = get_table(root, HOLDOUTS, _key(version), [f"{ROW_PREFIX}id", f"{ROW_PREFIX}score"])
    except FileNotFoundError:
        return {}
    return dict(zip(*(rows[column].to_pylist() for column in rows.column_names), strict=True))


def holdout_scores(root: str, version: str) -> npt.NDArray[np.float64]:
    """(m,) what a version gave to payments of days that it had not learnt from: so its live scores should look. Or none."""
    return np.fromiter(unseen_scores(root, version).values(), np.float64)


def forget_holdouts(root: str, model_dir: Path, kept: Collection[str], last: int) -> list[str]:
    """Delete the holdouts of all versions but those `kept` and the `last` ones that were trained; whose those were."""
    held = [key.removeprefix(_key("")) for key in keys(root, HOLDOUTS)]
    by_age = sorted((version for version in held if version not in kept), key=lambda one: _trained_ms(model_dir, one))
    gone = by_age[: max(len(by_age) - last, 0)]
    for version in gone:
        drop_table(root, HOLDOUTS, _key(version))
    return gone


def _trained_ms(model_dir: Path, version: str) -> int:
    """Before all others where the model's own files are gone."""
    try:
        return manifest_of(model_dir, version).created_at_ms
    except (FileNotFoundError, RefusedModel):
        return 0


def _key(version: str) -> str:
    return f"model={version}"
