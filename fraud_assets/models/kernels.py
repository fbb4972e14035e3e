"""The walk over flat trees, in machine code.

All trees are one forest of nodes. Siblings are neighbours, so one index leads to both and the step
needs no branch: `child + 1` is the right one. A leaf is its own right child and every value goes right there, so all
walks through a tree have its depth's number of steps, and eight trees are walked at once: a step waits for memory, and
eight wait no longer than one.

A step compares once, for nulls are looked up where the answer is known: `sides` holds a row twice, with nulls that are less
than everything, and with nulls that are less than nothing. A node's `place` is in the half of its default direction.

nodes (n_nodes,) NODE. mean (n_nodes,) float64: mean weight of the leaves below, by training cover.
roots (n_trees,) uint32. depths (n_trees,) int32. Indices are unsigned: numba looks whether a signed one counts from the end.
"""

import math
from typing import Any

import numba
import numpy as np

# What a step needs lies together, so that it waits for memory once.
# threshold: NaN in a leaf. child: the left one; for a leaf, the node before it. place: in `sides`. weight: of leaves.
NODE = np.dtype([("threshold", np.float32), ("child", np.uint32), ("place", np.uint32), ("weight", np.float32)])
AT_ONCE = 8
_LESS, _MORE = np.float32(-np.inf), np.float32(np.inf)

# This file's kernels call only each other, so numba's own cache sees every change. No reference
# counts: nothing allocates, and counting arrays at each call costs more than the call.
_options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


@numba.njit(**_options)
def _unfold(x, sides):
    """sides (2 * n_features,) float32 of one row x (n_features,) float32, NaN for null."""
    n = len(x)
    for i in range(n):
        v = x[i]
        is_null = math.isnan(v)
        sides[i] = _LESS if is_null else v
        sides[n + i] = _MORE if is_null else v


@numba.njit(**_options)
def _step(sides, at, nodes):
    node = nodes[at]
    return np.uint32(node.child + np.uint32(not sides[node.place] < node.threshold))


@numba.njit(**_options)
def _add_group(total, sides, k, nodes, roots, depths):
    """total and the weights of eight trees from the k-th on, one after the other."""
    a, b, c, d = roots[k], roots[k + 1], roots[k + 2], roots[k + 3]
    e, f, g, h = roots[k + 4], roots[k + 5], roots[k + 6], roots[k + 7]
    deepest = depths[k]
    for other in range(k + 1, k + AT_ONCE):
        deepest = max(deepest, depths[other])
    for _ in range(deepest):
        a = _step(sides, a, nodes)
        b = _step(sides, b, nodes)
        c = _step(sides, c, nodes)
        d = _step(sides, d, nodes)
        e = _step(sides, e, nodes)
        f = _step(sides, f, nodes)
        g = _step(sides, g, nodes)
        h = _step(sides, h, nodes)
    for leaf in (a, b, c, d, e, f, g, h):
        total += nodes[leaf].weight
    return total


@numba.njit(**_options)
def _add_tree(total, sides, k, nodes, roots, depths):
    at = roots[k]
    for _ in range(depths[k]):
        at = _step(sides, at, nodes)
    return total + nodes[at].weight


@numba.njit(**_options)
def margins(rows, nodes, roots, depths, base, sides, out):
    """out (n,) float32: log odds of every row of rows (n, n_features) float32, summed in float32 and tree order as XGBoost does.

    sides (n, 2 * n_features) float32: scratch. Every row walks a group of trees before any walks the next, for a group fits
    into the fastest memory, and a forest does not.
    """
    n = len(rows)
    for i in range(n):
        _unfold(rows[i], sides[i])
        out[i] = base
    whole = len(roots) - len(roots) % AT_ONCE
    for k in range(0, whole, AT_ONCE):
        for i in range(n):
            out[i] = _add_group(out[i], sides[i], k, nodes, roots, depths)
    for k in range(whole, len(roots)):
        for i in range(n):
            out[i] = _add_tree(out[i], sides[i], k, nodes, roots, depths)


@numba.njit(**_options)
def margin(x, nodes, roots, depths, base, sides):
    """`margins` of one row x (n_features,) float32. sides (2 * n_features,) float32: scratch."""
    _unfold(x, sides)
    total = np.float32(base)
    whole = len(roots) - len(roots) % AT_ONCE
    for k in range(0, whole, AT_ONCE):
        total = _add_group(total, sides, k, nodes, roots, depths)
    for k in range(whole, len(roots)):
        total = _add_tree(total, sides, k, nodes, roots, depths)
    return total


@numba.njit(**_options)
def margins_by_feature(rows, nodes, roots, depths, base, sides, mean, path, out, shares):
    """`margins`, and shares (n, n_features) float64, all zero before: what each feature moved each row's margin by.

    A step from a node to its child moves the expected weight from the node's mean to the child's, and
    that difference is the split feature's (Saabas, 2014). Shares plus the means of all roots plus base
    is the margin. path (1 + deepest, AT_ONCE) uint32: scratch.
    """
    n, width = rows.shape
    for i in range(n):
        _unfold(rows[i], sides[i])
        out[i] = base
    for k in range(0, len(roots), AT_ONCE):
        trees = min(AT_ONCE, len(roots) - k)
        deepest = 0
        for j in range(trees):
            path[0, j] = roots[k + j]
            deepest = max(deepest, depths[k + j])
        for i in range(n):
            side, moved, total = sides[i], shares[i], out[i]
            for s in range(deepest):
                for j in range(trees):
                    path[s + 1, j] = _step(side, path[s, j], nodes)
            # Added up tree by tree, as if each had been walked alone: sums of floats depend on their order.
            for j in range(trees):
                for s in range(depths[k + j]):
                    at, below = path[s, j], path[s + 1, j]
                    place = nodes[at].place
                    moved[place if place < width else place - width] += mean[below] - mean[at]
                total += nodes[path[depths[k + j], j]].weight
            out[i] = total
