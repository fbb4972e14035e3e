"""Does the kept training set, by the recorded recipe, give the same bytes again?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xgboost as xgb

from fraud_assets.models.artifact import open_decided
from fraud_assets.models.manifest import MODEL_FILE, Manifest, sha256
from fraud_assets.training import store
from fraud_assets.training.as_of import manifest_of
from fraud_assets.training.dataset import TrainingSet
from fraud_assets.training.fit import boosted, thinned
from fraud_assets.training.package import code_revision
from fraud_assets.training.recipe import Recipe, libraries, read_recipe


class NotKept(LookupError):
    """What a model was made of is not there any more, or was never written down; the message says which."""


@dataclass(frozen=True)
class Reproduction:
    """differences: what is not as it was, in words; none of them where the bytes are the same.

    notes: what else has changed since and made no difference, or may be why there is one.
    """

    version: str
    sha256: str
    recorded_sha256: str
    differences: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not self.differences


def reproduce(model_dir: Path, training_root: str, version: str) -> Reproduction:
    """Refit and compare. Raises NotKept, RefusedModel for files that are not what the manifest says, FileNotFoundError."""
    manifest = manifest_of(model_dir, version)
    recorded = open_decided(model_dir, version, manifest.files[MODEL_FILE])
    recipe = read_recipe(model_dir, manifest)
    if recipe is None:
        raise NotKept(f"NotKept: {version} was made before recipes were written down. Train its as-of day again.")
    found = _set_of(training_root, recipe, manifest)
    everything = np.arange(len(found), dtype=np.int64)
    sample = thinned(everything, found.is_fraud, recipe.seed, recipe.per_fraud, found.weight)
    booster = boosted(found.features, found.is_fraud, sample, found.names, recipe.params, recipe.rounds)
    made = bytes(booster.save_raw("json"))
    differences = () if made == recorded else _differences(booster, recorded, manifest)
    return Reproduction(version, sha256(made), manifest.files[MODEL_FILE], differences, _notes(recipe, manifest))


def _set_of(root: str, recipe: Recipe, manifest: Manifest) -> TrainingSet:
    """The set by its digest: that of the recipe's day, unless the day was made again and is another now."""
    for day in sorted(store.days(root), key=lambda day: day != recipe.as_of):
        if store.digest(root, day) == manifest.training_set_digest:
            found = store.load(root, day)
            if found.digest == manifest.training_set_digest:
                return found
    raise NotKept(
        f"NotKept: no training set under {root} has the digest {manifest.training_set_digest[:12]}…"
        f" Materialize training_set of {recipe.as_of} at {manifest.code_revision[:12]}: from the same lake it has the same digest."
    )


def _differences(made: xgb.Booster, recorded: bytes, manifest: Manifest) -> tuple[str, ...]:
    """From the whole to the part: number of trees, the first that differs, scores of the golden vectors."""
    before = xgb.Booster(model_file=bytearray(recorded))
    ours, theirs = made.get_dump(), before.get_dump()
    found = ["the bytes of the model differ"]
    if len(ours) != len(theirs):
        found.append(f"{len(ours)} trees, recorded are {len(theirs)}")
    first = next((n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    if first is not None:
        found.append(f"tree {first} is the first that differs")
    rows = xgb.DMatrix(
        manifest.golden.rows(len(manifest.feature_names)), feature_names=list(manifest.feature_names), nthread=1
    )
    off = float(np.abs(made.predict(rows) - np.array(manifest.golden.scores)).max())
    found.append(f"scores of the golden vectors differ by at most {off:.2g}")
    return tuple(found)


def _notes(recipe: Recipe, manifest: Manifest) -> tuple[str, ...]:
    now, here = libraries(), code_revision()
    found = [
        f"{name} is {now.get(name, 'not installed')} here, it was {was}"
        for name, was in recipe.libraries.items()
        if now.get(name) != was
    ]
    if here != manifest.code_revision:
        found.append(f"the code is at {here}, it was at {manifest.code_revision}")
    return tuple(found)
