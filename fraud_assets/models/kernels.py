"""The walk over flat trees, in machine code.

All trees are one forest of nodes. Siblings are neighbours, so one index leads to both and the step
needs no branch: `child + 1` is the right one. A leaf is its own right child and every value goes right there, so all
walks through a tree have its depth's number of steps, and eight trees are walked at once: a step waits for memory, and
eight wait no longer than one.

child (n_nodes,) int32: left child; for a leaf, the node before it. feature (n_nodes,) int32.
threshold (n_nodes,) float32: NaN in a leaf. null_right (n_nodes,) bool: where null goes. weight (n_nodes,) float32: of leaves.
mean (n_nodes,) float64: mean weight of the leaves below, by training cover. roots, depths (n_trees,) int32.
"""

import math
from typing import Any

import numba
import numpy as np

# This file's kernels call only each other, so numba's own cache sees every change. No reference
# counts: nothing allocates, and counting arrays at each call costs more than the call.
_options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


@numba.njit(**_options)
def _step(x, at, child, feature, threshold, null_right):
    v = x[feature[at]]
    # A null compares false with everything, so it needs its own answer.
    return child[at] + ((not v < threshold[at]) & (not math.isnan(v) or null_right[at]))


@numba.njit(**_options)
def margin(x, child, feature, threshold, null_right, weight, roots, depths, base):
    """Log odds of one row x (n_features,) float32, summed in float32 and tree order as XGBoost does."""
    total = np.float32(base)
    whole = len(roots) - len(roots) % 8
    for k in range(0, whole, 8):
        a, b, c, d = roots[k], roots[k + 1], roots[k + 2], roots[k + 3]
        e, f, g, h = roots[k + 4], roots[k + 5], roots[k + 6], roots[k + 7]
        deepest = depths[k]
        for other in range(k + 1, k + 8):
            deepest = max(deepest, depths[other])
        for _ in range(deepest):
            a = _step(x, a, child, feature, threshold, null_right)
            b = _step(x, b, child, feature, threshold, null_right)
            c = _step(x, c, child, feature, threshold, null_right)
            d = _step(x, d, child, feature, threshold, null_right)
            e = _step(x, e, child, feature, threshold, null_right)
            f = _step(x, f, child, feature, threshold, null_right)
            g = _step(x, g, child, feature, threshold, null_right)
            h = _step(x, h, child, feature, threshold, null_right)
        for leaf in (a, b, c, d, e, f, g, h):
            total += weight[leaf]
    for k in range(whole, len(roots)):
        at = roots[k]
        for _ in range(depths[k]):
            at = _step(x, at, child, feature, threshold, null_right)
        total += weight[at]
    return total


@numba.njit(**_options)
def margins(rows, child, feature, threshold, null_right, weight, roots, depths, base, out):
    """out (n,) float32: `margin` of every row of rows (n, n_features) float32."""
    for i in range(len(rows)):
        out[i] = margin(rows[i], child, feature, threshold, null_right, weight, roots, depths, base)


@numba.njit(**_options)
def margin_by_feature(x, child, feature, threshold, null_right, weight, roots, depths, base, mean, shares):
    """`margin`, and shares (n_features,) float64: what each feature moved it by.

    A step from a node to its child moves the expected weight from the node's mean to the child's, and
    that difference is the split feature's (Saabas, 2014). Shares plus the means of all roots plus base
    is the margin.
    """
    shares[:] = 0.0
    total = np.float32(base)
    for k in range(len(roots)):
        at = roots[k]
        for _ in range(depths[k]):
            below = _step(x, at, child, feature, threshold, null_right)
            shares[feature[at]] += mean[below] - mean[at]
            at = below
        total += weight[at]
    return total
