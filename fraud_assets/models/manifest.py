"""What a model says about itself: what it was trained on, what it must answer, what its bytes are."""

import hashlib
from typing import Annotated, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry, view_digest

MANIFEST_FORMAT = 1
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.json"

VersionName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]  # also a folder's name
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Probability = Annotated[float, Meta(ge=0, le=1)]


class RefusedModel(ValueError):
    """A model this process will not serve. reason: one word for a metric; detail: what to do, as the message says."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"RefusedModel ({reason}): {detail}")


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores at or above `deny` are fraud; at or above `review` somebody looks."""

    review: Probability
    deny: Probability

    def __post_init__(self) -> None:
        if self.review > self.deny:
            raise ValueError(f"review threshold {self.review} is above the deny threshold {self.deny}")


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vectors with the scores XGBoost gave them at training: a reader that disagrees is broken.

    vectors: float32, little-endian, row after row, NaN for null (base64 in JSON, so every bit survives).
    """

    vectors: bytes
    scores: list[Probability]

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32], scores: npt.NDArray[np.floating]) -> Self:
        """vectors (n, n_features), scores (n,) from `Booster.predict`."""
        return cls(vectors.astype("<f4").tobytes(), [float(score) for score in scores])

    def rows(self, n_features: int) -> npt.NDArray[np.float32]:
        """(n, n_features). Raises RefusedModel if the counts do not fit."""
        found = np.frombuffer(self.vectors, "<f4") if len(self.vectors) % 4 == 0 else np.empty(0, "<f4")
        if not self.scores or found.size != len(self.scores) * n_features:
            raise RefusedModel(
                "bad_manifest",
                f"{len(self.vectors)} bytes of golden vectors for {len(self.scores)} scores of {n_features} features",
            )
        # A copy: rows that cannot be written to are another type to numba than the vectors that are
        # served, and golden vectors are what warms the kernels for those.
        return found.reshape(len(self.scores), n_features).astype(np.float32, copy=True)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """files: name to SHA-256 of every file beside the manifest; nothing else in the folder is read.

    service_digest, view_digests, feature_names: the definitions the training set was made with.
    """

    format: Annotated[int, Meta(ge=MANIFEST_FORMAT, le=MANIFEST_FORMAT)] = MANIFEST_FORMAT
    model_version: VersionName
    created_at_ms: int
    service: str
    service_digest: Sha256
    view_digests: dict[str, Sha256]
    feature_names: tuple[str, ...]
    thresholds: Thresholds
    training_set_digest: str
    code_revision: str
    metrics: dict[str, float] = {}
    golden: Golden
    files: dict[VersionName, Sha256] = {}


class Definitions(msgspec.Struct, frozen=True):
    """What this process computes; a model trained on anything else would read other features as its own."""

    service: str
    service_digest: str
    view_digests: dict[str, str]
    feature_names: tuple[str, ...]

    @classmethod
    def of(cls, registry: Registry, service: FeatureService) -> Self:
        return cls(
            service.name,
            registry.service_digest(service),
            {view.name: view_digest(view) for view in service.views},
            registry.feature_names(service),
        )

    def check(self, manifest: Manifest) -> None:
        """Raises RefusedModel, naming both digests and the views that differ."""
        if manifest.service_digest == self.service_digest and manifest.feature_names == self.feature_names:
            return
        theirs = manifest.view_digests
        other = sorted(
            name for name in {*theirs, *self.view_digests} if theirs.get(name) != self.view_digests.get(name)
        )
        raise RefusedModel(
            "other_definitions",
            f"{manifest.model_version} was trained on {manifest.service}@{manifest.service_digest},"
            f" this process computes {self.service}@{self.service_digest};"
            f" views that differ: {', '.join(other) or 'none (request features or the scored event do)'}."
            " Retrain the model, or deploy the code it was trained with.",
        )


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def parse_manifest(raw: bytes) -> Manifest:
    """Raises RefusedModel."""
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedModel("bad_manifest", str(error)) from None
