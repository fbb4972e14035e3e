"""The one model every configuration is measured with.

Its parameters were chosen on the Handbook's weeks tested from 2018-06-20 to 2018-07-31 and are fixed
since: nothing here has seen a later week (docs/benchmarks.md has the comparison).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xgboost as xgb

Floats32 = npt.NDArray[np.float32]
Floats64 = npt.NDArray[np.float64]

# Two threads meet at a barrier for every feature of every level: below this many rows they wait for
# each other longer than they work, and on a busy machine a hundred times longer.
ROWS_WORTH_TWO_THREADS = 20_000
ROUNDS = 200
PARAMS: Mapping[str, object] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    # Frauds live in the far tail of a feature: 256 quantile bins of a week cannot tell 215 from 225.
    "max_bin": 1024,
    "max_depth": 5,
    "eta": 0.06,
    "subsample": 0.8,
    "colsample_bytree": 0.3,
    "min_child_weight": 2,
    # XGBoost 3 estimates it from the labels; fixed, results compare with older published ones.
    "base_score": 0.5,
    "seed": 7,
}


def fit_and_score(train: Floats32, is_fraud: npt.NDArray[np.bool_], test: Floats32) -> Floats64:
    """(m,) scores of `test` (m, n_features) by a model of `train` (n, n_features)."""
    threads = 2 if len(train) >= ROWS_WORTH_TWO_THREADS else 1
    rows = xgb.QuantileDMatrix(train, is_fraud.astype(np.float32), max_bin=PARAMS["max_bin"], nthread=threads)
    booster = xgb.train({**PARAMS, "nthread": threads}, rows, num_boost_round=ROUNDS)
    return np.asarray(booster.inplace_predict(test), np.float64)
