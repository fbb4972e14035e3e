"""The walk over flat trees, in machine code.

All trees are one forest of nodes. Siblings are neighbours, so one index leads to both and the step
needs no branch: `child + 1` is the right one.

child (n_nodes,) int32: left child, or -1 for a leaf. feature (n_nodes,) int32.
value (n_nodes,) float32: threshold, or a leaf's weight. default_right (n_nodes,) bool: where null goes.
mean (n_nodes,) float64: mean weight of the leaves below, by training cover. roots (n_trees,) int32.
"""

import math
from typing import Any

import numba
import numpy as np

# This file's kernels call only each other, so numba's own cache sees every change. No reference
# counts: nothing allocates, and counting arrays at each call costs more than the call.
_options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


@numba.njit(**_options)
def _step(x, node, child, feature, value, default_right):
    v = x[feature[node]]
    # A null compares false with everything, so it needs its own answer.
    return child[node] + (default_right[node] if math.isnan(v) else not v < value[node])


@numba.njit(**_options)
def margin(x, child, feature, value, default_right, roots, base):
    """Log odds of one row x (n_features,) float32, summed in float32 and tree order as XGBoost does."""
    total = np.float32(base)
    for root in roots:
        node = root
        while child[node] >= 0:
            node = _step(x, node, child, feature, value, default_right)
        total += value[node]
    return total


@numba.njit(**_options)
def margins(rows, child, feature, value, default_right, roots, base, out):
    """out (n,) float32: `margin` of every row of rows (n, n_features) float32."""
    for i in range(len(rows)):
        out[i] = margin(rows[i], child, feature, value, default_right, roots, base)


@numba.njit(**_options)
def margin_by_feature(x, child, feature, value, default_right, roots, base, mean, shares):
    """`margin`, and shares (n_features,) float64: what each feature moved it by.

    A step from a node to its child moves the expected weight from the node's mean to the child's, and
    that difference is the split feature's (Saabas, 2014). Shares plus the means of all roots plus base
    is the margin.
    """
    shares[:] = 0.0
    total = np.float32(base)
    for root in roots:
        node = root
        while child[node] >= 0:
            below = _step(x, node, child, feature, value, default_right)
            shares[feature[node]] += mean[below] - mean[node]
            node = below
        total += value[node]
    return total
