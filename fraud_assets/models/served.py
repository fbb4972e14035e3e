"""A model in memory, checked against its own golden vectors."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from fraud_assets.models.manifest import MODEL_FILE, Manifest, RefusedModel, Thresholds
from fraud_assets.models.trees import BadModel, Row, Trees

# Float32 sums in another order differ by less; another model, threshold or default differs by more.
GOLDEN_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class ServedModel:
    """sha256: of the model file."""

    manifest: Manifest
    trees: Trees
    sha256: str

    @classmethod
    def build(cls, manifest: Manifest, model_json: bytes) -> Self:
        """Parse, compare with the golden vectors, and so warm the kernels. Raises RefusedModel."""
        try:
            trees = Trees.parse(model_json)
        except BadModel as error:
            raise RefusedModel("not_a_model", str(error)) from None
        if trees.feature_names != manifest.feature_names:
            raise RefusedModel("bad_manifest", "the manifest and the model name different features")
        model = cls(manifest, trees, manifest.files[MODEL_FILE])
        model.check_golden()
        return model

    @property
    def version(self) -> str:
        return self.manifest.model_version

    @property
    def thresholds(self) -> Thresholds:
        return self.manifest.thresholds

    def score(self, x: Row) -> float:
        """Probability of fraud of one row (n_features,) float32, NaN for null."""
        return self.trees.score(x)

    def score_many(self, rows: Row) -> list[float]:
        """`score` of each of rows (n, n_features) float32, to the last bit."""
        return [self.trees.score(rows[0])] if len(rows) == 1 else self.trees.score_many(rows)

    def explain(self, rows: Row) -> tuple[list[float], npt.NDArray[np.float64]]:
        """`score_many`, and (n, n_features) log odds each feature moved each score by."""
        return self.trees.score_by_feature(rows)

    def check_golden(self) -> None:
        """Every way to score gives what XGBoost gave at training. Raises RefusedModel."""
        rows = self.manifest.golden.rows(len(self.trees.feature_names))
        wanted = np.array(self.manifest.golden.scores)
        one_by_one = np.array([self.score(row) for row in rows])
        for found in (self.trees.score_many(rows), one_by_one, self.explain(rows)[0]):
            worst = float(np.abs(found - wanted).max())
            if not worst <= GOLDEN_TOLERANCE:  # also catches NaN
                raise RefusedModel(
                    "golden_mismatch",
                    f"{self.version} is off by {worst:.2g} on its golden vectors; at most {GOLDEN_TOLERANCE}",
                )
