"""How a model was made, in enough words to make it again: written beside it."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from fraud_assets.models.artifact import read_beside
from fraud_assets.models.manifest import Manifest
from fraud_assets.training.split import SplitKind
from fraud_assets.training.threshold import CostTable

RECIPE_FILE = "recipe.json"
FORMAT = 1
LIBRARIES = ("xgboost-cpu", "xgboost", "numpy", "scikit-learn", "optuna")  # what may change a bit of what is computed


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """as_of: whose training set. from_ms, to_ms: its window; what is newer the model has not learnt from.

    params, rounds: what XGBoost was given for all rows, seed and threads among them. seed: of the choice of rows,
    `per_fraud` legitimate ones for each fraud. propagation_weights: whether rows counted by the weights of the training set. libraries: versions it was made with.
    """

    format: int = FORMAT
    as_of: str
    from_ms: int
    to_ms: int
    label_delay_days: float
    split: SplitKind = SplitKind.TEMPORAL
    params: dict[str, int | float | str | list[str]]
    rounds: int
    seed: int
    per_fraud: int
    propagation_weights: bool = False
    costs: CostTable
    libraries: dict[str, str]


def libraries() -> dict[str, str]:
    """Installed versions by distribution; of XGBoost's two there is one."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_recipe(model_dir: Path, manifest: Manifest) -> Recipe | None:
    """What training wrote beside the model; None of a model made before there were any. Raises RefusedModel."""
    return read_beside(model_dir, manifest, RECIPE_FILE, Recipe)
