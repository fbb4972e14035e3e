"""XGBoost's JSON as flat arrays: parsed strictly, then never looked at again.

The serving path does not import XGBoost, whose own parser reads untrusted bytes in C++; this one is
checked node by node, so that bytes which are not a forest raise instead of looping or reading past the end.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from fraud_assets.models import kernels

MAX_NODES = 4_000_000  # 100 MB of arrays; a model of 300 trees of depth 6 has 38,000

_MAX_FLOAT32 = float(np.finfo(np.float32).max)

Row = npt.NDArray[np.float32]
Natural = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class BadModel(ValueError):
    """Bytes that are no model we can serve; the message says what is wrong with them."""


class _Tree(msgspec.Struct):
    left_children: list[Annotated[int, Meta(ge=-1, le=2**31 - 1)]]
    right_children: list[Annotated[int, Meta(ge=-1, le=2**31 - 1)]]
    split_indices: list[Natural]
    split_conditions: list[float]
    split_type: list[int]
    default_left: list[Annotated[int, Meta(ge=0, le=1)]]
    sum_hessian: list[float]


class _GbtreeParam(msgspec.Struct):
    num_trees: str


class _Model(msgspec.Struct):
    gbtree_model_param: _GbtreeParam
    trees: list[_Tree]


class _Booster(msgspec.Struct):
    name: str
    model: _Model | None = None


class _Objective(msgspec.Struct):
    name: str


class _LearnerParam(msgspec.Struct):
    base_score: str
    num_class: str
    num_feature: str


class _Learner(msgspec.Struct):
    feature_names: list[str]
    gradient_booster: _Booster
    learner_model_param: _LearnerParam
    objective: _Objective


class _Document(msgspec.Struct):
    learner: _Learner


@dataclass(frozen=True, eq=False)
class Trees:
    """A binary:logistic forest. Scores equal XGBoost's to 1e-6; arrays as in `models/kernels.py`."""

    feature_names: tuple[str, ...]
    base: float
    nodes: npt.NDArray[np.void]
    mean: npt.NDArray[np.float64]
    roots: npt.NDArray[np.uint32]
    depths: npt.NDArray[np.int32]

    @cached_property
    def _forest(self) -> tuple[object, ...]:
        """As every kernel takes it."""
        return self.nodes, self.roots, self.depths, self.base

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From `Booster.save_raw("json")`. Raises BadModel."""
        try:
            learner = msgspec.json.decode(raw, type=_Document).learner
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadModel(f"BadModel: not XGBoost's JSON ({error}).") from None
        model = _checked(learner)
        forest = _Forest(sum(len(tree.left_children) for tree in model.trees), len(learner.feature_names))
        for number, tree in enumerate(model.trees):
            forest.add(tree, number)
        return cls(
            tuple(learner.feature_names),
            _base_margin(learner.learner_model_param.base_score),
            forest.nodes,
            forest.mean,
            np.array(forest.roots, np.uint32),
            np.array(forest.depths, np.int32),
        )

    def score(self, x: Row) -> float:
        """Probability of fraud of one row x (n_features,) float32, NaN for null."""
        return sigmoid(kernels.margin(self._checked(x), *self._forest, self._sides(1)[0]))

    def score_many(self, rows: Row) -> list[float]:
        """`score` of each of rows (n, n_features) float32, to the last bit."""
        out = np.empty(len(rows), np.float32)
        kernels.margins(self._checked(rows), *self._forest, self._sides(len(rows)), out)
        return list(map(sigmoid, out.tolist()))

    def score_by_feature(self, rows: Row) -> tuple[list[float], npt.NDArray[np.float64]]:
        """`score_many`, and (n, n_features) what each feature moved each row's log odds by."""
        path = np.empty((self._deepest + 1, kernels.AT_ONCE), np.uint32)
        out, shares = np.empty(len(rows), np.float32), np.zeros(rows.shape)
        kernels.margins_by_feature(
            self._checked(rows), *self._forest, self._sides(len(rows)), self.mean, path, out, shares
        )
        return list(map(sigmoid, out.tolist())), shares

    @cached_property
    def _deepest(self) -> int:
        return int(self.depths.max(initial=0))

    def _checked(self, x: Row) -> Row:
        """Kernels look at no index. Raises ValueError."""
        if x.shape[-1] != len(self.feature_names):
            raise ValueError(f"{x.shape[-1]} features; the model was trained on {len(self.feature_names)}")
        return x

    def _sides(self, n: int) -> Row:
        """Scratch of a kernel, for n rows."""
        return np.empty((n, 2 * len(self.feature_names)), np.float32)


class _Forest:
    """The arrays while trees are added; nodes are renumbered so that siblings are neighbours."""

    def __init__(self, n_nodes: int, n_features: int) -> None:
        if n_nodes > MAX_NODES:
            raise BadModel(f"BadModel: {n_nodes} nodes; at most {MAX_NODES}.")
        self.n_features = n_features
        self.nodes = np.zeros(n_nodes, kernels.NODE)  # leaves, until they are said to be something else
        self.nodes["threshold"] = np.nan
        self.nodes["child"] = np.arange(n_nodes, dtype=np.uint32) - np.uint32(1)
        self.mean = np.zeros(n_nodes, np.float64)
        self.roots: list[int] = []
        self.depths: list[int] = []
        self._used = 0

    def add(self, tree: _Tree, number: int) -> None:
        """Breadth first; a node reached twice, or none, makes the counts differ."""
        count = _tree_size(tree, number)
        first = self._used
        self.roots.append(first)
        self._used += 1
        order, depths = [0], [0]  # old numbers in the order of new ones
        for at, old in enumerate(order):  # grows while it is walked
            left, right = tree.left_children[old], tree.right_children[old]
            if (left < 0) != (right < 0) or max(left, right) >= count:
                raise BadModel(f"BadModel: node {old} of tree {number} has children {left} and {right}.")
            self._fill(tree, old, first + at, number)
            if left >= 0:
                self.nodes["child"][first + at] = self._used
                order += (left, right)
                depths += 2 * [depths[at] + 1]
                self._used += 2
            if len(order) > count:
                raise BadModel(f"BadModel: tree {number} has a node with two parents.")
        if len(set(order)) != len(order):
            raise BadModel(f"BadModel: tree {number} has a node with two parents.")
        self.depths.append(depths[-1])
        self._means(tree, order, first)

    def _fill(self, tree: _Tree, old: int, new: int, number: int) -> None:
        if not abs(tree.split_conditions[old]) <= _MAX_FLOAT32:  # also catches NaN
            raise BadModel(f"BadModel: node {old} of tree {number} holds {tree.split_conditions[old]}.")
        if tree.split_indices[old] >= self.n_features:
            raise BadModel(f"BadModel: node {old} of tree {number} splits feature {tree.split_indices[old]}.")
        if tree.split_type[old] != 0:
            raise BadModel(f"BadModel: tree {number} has a categorical split; encode categories as integers.")
        if tree.left_children[old] < 0:
            self.nodes["weight"][new] = tree.split_conditions[old]
            return
        half = 0 if tree.default_left[old] else self.n_features
        self.nodes["place"][new] = half + tree.split_indices[old]
        self.nodes["threshold"][new] = tree.split_conditions[old]

    def _means(self, tree: _Tree, order: list[int], first: int) -> None:
        """Mean leaf weight below each node, children before parents. Leaves without cover count alike."""
        cover = [max(tree.sum_hessian[old], 0.0) if math.isfinite(tree.sum_hessian[old]) else 0.0 for old in order]
        for at in range(len(order) - 1, -1, -1):
            new = first + at
            if tree.left_children[order[at]] < 0:
                self.mean[new] = self.nodes["weight"][new]
                continue
            left = int(self.nodes["child"][new])
            one, other = cover[left - first], cover[left + 1 - first]
            share = one / (one + other) if one + other > 0 else 0.5
            self.mean[new] = share * self.mean[left] + (1 - share) * self.mean[left + 1]


def sigmoid(margin: float) -> float:
    """Probability of a log odds, without overflow at either end."""
    if margin >= 0:
        return 1.0 / (1.0 + math.exp(-margin))
    odds = math.exp(margin)
    return odds / (1.0 + odds)


def _checked(learner: _Learner) -> _Model:
    param, booster = learner.learner_model_param, learner.gradient_booster
    if learner.objective.name != "binary:logistic" or param.num_class != "0":
        raise BadModel(f"BadModel: objective {learner.objective.name!r}; train with binary:logistic.")
    if booster.name != "gbtree" or booster.model is None:
        raise BadModel(f"BadModel: booster {booster.name!r}; train with gbtree.")
    if param.num_feature != str(len(learner.feature_names)):
        raise BadModel(
            f"BadModel: {param.num_feature} features and {len(learner.feature_names)} names;"
            " pass feature_names to the DMatrix."
        )
    if booster.model.gbtree_model_param.num_trees != str(len(booster.model.trees)):
        raise BadModel(
            f"BadModel: {len(booster.model.trees)} trees, announced {booster.model.gbtree_model_param.num_trees}."
        )
    return booster.model


def _tree_size(tree: _Tree, number: int) -> int:
    count = len(tree.left_children)
    columns = (
        tree.right_children, tree.split_indices, tree.split_conditions, tree.split_type, tree.default_left, tree.sum_hessian,
    )  # fmt: skip
    if count == 0 or any(len(column) != count for column in columns):
        raise BadModel(f"BadModel: tree {number} has columns of different lengths.")
    return count


def _base_margin(base_score: str) -> float:
    """XGBoost 3 writes a list of one; the margin is its log odds, in float32 as XGBoost keeps it."""
    try:
        base = float(base_score.strip("[]"))
    except ValueError:
        raise BadModel(f"BadModel: base_score is {base_score[:40]!r}; expected one number.") from None
    if not 0.0 < base < 1.0:
        raise BadModel(f"BadModel: base_score is {base}; expected a probability.")
    return float(np.float32(-math.log(1.0 / base - 1.0)))
