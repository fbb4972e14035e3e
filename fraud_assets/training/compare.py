"""A candidate and the champion on the same rows, each by scores of rows it had not learnt from, at its own threshold.

The rows are the candidate's holdout. What is newer than the champion's window the champion scores itself; what it has
learnt from counts with the score it was given when it was a candidate; the rest is left out. So a model that is trained again every
day is compared too, and a champion is never flattered by rows it knows by heart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fraud_assets.models.artifact import Artifact, open_artifact, read_champion
from fraud_assets.models.manifest import Manifest, RefusedModel, Thresholds
from fraud_assets.models.trees import BadModel, Trees
from fraud_assets.training.as_of import manifest_of
from fraud_assets.training.evaluation import Confusion
from fraud_assets.training.holdout import Holdout, load_holdout, unseen_scores
from fraud_assets.training.recipe import Recipe, read_recipe
from fraud_assets.training.threshold import CostTable, cost_minor

MIN_FRAUDS = 20  # one fraud is then five points of recall; fewer say nothing about either model

Floats = npt.NDArray[np.float64]


class NotCompared(ValueError):
    """There is nothing to compare with, or not enough: the message says what. Absolute gates remain."""


@dataclass(frozen=True)
class Side:
    """One model on the compared rows: counts by slice, `all` among them, and what its thresholds would have cost."""

    version: str
    slices: Mapping[str, Confusion]
    cost_minor: float

    @property
    def recall(self) -> float:
        found = self.slices["all"].recall
        assert found is not None  # MIN_FRAUDS are among the rows
        return found


@dataclass(frozen=True)
class Comparison:
    """rows: compared ones. left_out: rows of the holdout that the champion has no honest score for."""

    candidate: Side
    champion: Side
    rows: int
    frauds: int
    left_out: int


def compare(model_dir: Path, training_root: str, version: str) -> Comparison:
    """Raises NotCompared; FileNotFoundError where the candidate's holdout is not kept."""
    mine = manifest_of(model_dir, version)
    artifact = _champion(model_dir, mine)
    recipes = read_recipe(model_dir, mine), read_recipe(model_dir, artifact.manifest)
    holdout = load_holdout(training_root, version)
    theirs = _champions_scores(artifact, recipes[1], holdout, training_root)
    kept = ~np.isnan(theirs)
    frauds = int(holdout.is_fraud[kept].sum())
    if frauds < MIN_FRAUDS:
        raise NotCompared(
            f"{artifact.manifest.model_version} can honestly be asked about {int(kept.sum())} of the holdout's"
            f" {len(holdout)} rows, with {frauds} frauds; {MIN_FRAUDS} are needed"
        )
    costs = recipes[0].costs if recipes[0] else CostTable()
    return Comparison(
        _side(mine, holdout.score.astype(np.float64), holdout, kept, costs),
        _side(artifact.manifest, theirs, holdout, kept, costs),
        int(kept.sum()),
        frauds,
        int((~kept).sum()),
    )


def _champion(model_dir: Path, mine: Manifest) -> Artifact:
    """Raises NotCompared if there is none, it is the candidate, reads other features, or cannot be read."""
    try:
        pointer = read_champion(model_dir)
        if pointer is None:
            raise NotCompared("there is no champion yet")
        if pointer.version == mine.model_version:
            raise NotCompared("the candidate is the champion")
        found = open_artifact(model_dir, pointer)
    except RefusedModel as refused:
        raise NotCompared(f"the champion cannot be read: {refused}") from None
    digests = found.manifest.service_digest, mine.service_digest
    if digests[0] != digests[1] or found.manifest.feature_names != mine.feature_names:
        raise NotCompared(
            f"{found.manifest.model_version} reads features {digests[0][:12]}, the candidate {digests[1][:12]}:"
            " the same payments have no vectors for both"
        )
    return found


def _champions_scores(artifact: Artifact, recipe: Recipe | None, holdout: Holdout, root: str) -> Floats:
    """(n,) NaN where the champion has learnt from a row and has no score of before."""
    if recipe is None:
        raise NotCompared(f"{artifact.manifest.model_version} does not say what it had learnt from")
    known = unseen_scores(root, artifact.manifest.model_version)
    found = np.array([known.get(name, np.nan) for name in holdout.ids], np.float64)
    new = np.flatnonzero(holdout.event_time_ms >= recipe.to_ms)
    try:
        trees = Trees.parse(artifact.model_json)
    except BadModel as error:
        raise NotCompared(f"the champion cannot be read: {error}") from None
    if len(new):
        found[new] = trees.score_many(np.ascontiguousarray(holdout.features[new]))
    return found


def _side(manifest: Manifest, score: Floats, holdout: Holdout, kept: npt.NDArray[np.bool_], costs: CostTable) -> Side:
    thresholds: Thresholds = manifest.thresholds
    fraud = holdout.is_fraud[kept]
    slices = {
        name: Confusion.at(thresholds.deny, score[kept][member[kept]], fraud[member[kept]])
        for name, member in holdout.slices.items()
    }
    both = (thresholds.review, thresholds.deny)
    return Side(manifest.model_version, slices, cost_minor(score[kept], fraud, holdout.euro_cents[kept], both, costs))
