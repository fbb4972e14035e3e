"""Models for the explainer: read by the version and hash that a decision names, parsed by XGBoost itself.

XGBoost is imported with the first model, so that no other process of the worker loads it.
"""

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fraud_assets.models.artifact import open_decided
from fraud_assets.models.manifest import RefusedModel
from fraud_assets.models.trees import BadModel, Trees
from fraud_assets.stores.served import Floats

# Champion, challenger, and those that a replay still meets. A model of 300 trees takes some 10 MB.
KEPT = 4


class ModelName(NamedTuple):
    """What a decision says of its model. sha256: of the model file."""

    version: str
    sha256: str


class Booster:
    """A parsed model; its contributions are exact TreeSHAP values."""

    def __init__(self, model_json: bytes) -> None:
        """Raises RefusedModel for what is no forest: our own reader judges it before XGBoost's, in C++, sees it."""
        import xgboost as xgb

        try:
            self.feature_names: tuple[str, ...] = Trees.parse(model_json).feature_names
        except BadModel as error:
            raise RefusedModel("not_a_model", str(error)) from None
        self._xgb: Any = xgb
        # One thread: nobody waits for an explanation, and the other core is the router's and the scorer's.
        self._booster = xgb.Booster({"nthread": 1})
        self._booster.load_model(bytearray(model_json))

    def contributions(self, rows: Floats) -> Floats:
        """(n, n_features + 1) log odds of rows (n, n_features), NaN for null; the last column is the base value."""
        matrix = self._xgb.DMatrix(rows, feature_names=list(self.feature_names), nthread=1)
        found: Floats = self._booster.predict(matrix, pred_contribs=True)
        return found.astype(np.float32, copy=False)


class Boosters:
    """The models of a folder, those asked for last kept parsed."""

    def __init__(self, model_dir: Path) -> None:
        self._model_dir = model_dir
        self._kept: OrderedDict[ModelName, Booster] = OrderedDict()

    def get(self, name: ModelName) -> Booster:
        """Raises RefusedModel: the folder does not hold these bytes, or they are no model."""
        if name not in self._kept:
            self._kept[name] = Booster(open_decided(self._model_dir, *name))
        self._kept.move_to_end(name)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[name]


def without_sklearn() -> None:
    """In a process that only explains: XGBoost then loads in a fifth of the time and of the memory (65 MB, not 300).

    It takes scikit-learn, and with it pandas, if they can be imported, for estimators that nobody here uses.
    """
    sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]  # Python's own way to say: not here
