"""Drift: does a day look like what the model was trained on? Feature by feature, and by the score.

A drifted feature is no error, and nothing here stops anything. It says where to look, and the learning
loop when to train again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraud_assets.features.language import FeatureService
from fraud_assets.monitoring.ks import ks_distance
from fraud_assets.monitoring.psi import by_chance, column_psi

Features = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

# Siddiqi's "look" begins at 0.1 and his "act" at 0.25; a day of few rows reaches 0.1 by chance.
DRIFTED = 0.2
# Share of drifted features that a day may have. Windows of one aggregate move together: a single cause,
# say a sale at noon, moves a handful of four hundred, not forty.
MAX_DRIFTED_SHARE = 0.1
# Siddiqi's "act" for the score, and a quarter of the features: two causes at once, or one that moves nearly everything of an entity.
# Past these a model is trained again by itself (`retrain_on_drift`); below, a person looks.
SEVERE = 0.25
SEVERE_SHARE = 0.25
# With fewer, chance alone moves the index by 0.05 and more (`by_chance`).
MIN_ROWS = 200
# More rows make the reference no steadier that anybody would see, and the quantiles of a large one slow.
SAMPLE_ROWS = 50_000
TOP = 20  # as many columns are shown and rendered
SEED = 7
CLOCK = "request.event_time_ms"


class OtherFeatures(ValueError):
    """The reference has other columns than the day."""


@dataclass(frozen=True)
class Sample:
    """features: (n, n_features) float32 by `names`, NaN for null. scores: (m,), of fewer rows or none."""

    names: tuple[str, ...]
    features: Features
    scores: Floats

    def __len__(self) -> int:
        return len(self.features)

    def thinned(self, rows: int, seed: int = SEED) -> "Sample":
        """At most `rows` of either kind, drawn without replacement."""
        rng = np.random.default_rng(seed)
        return Sample(
            self.names,
            self.features[_some(len(self.features), rows, rng)],
            self.scores[_some(len(self.scores), rows, rng)],
        )

    def column(self, name: str) -> Features:
        return self.features[:, self.names.index(name)]


@dataclass(frozen=True)
class Moved:
    """One feature: its index, its Kolmogorov–Smirnov distance, and what a person can see of it. Medians are NaN where all is null.

    ks: of the values that are known; NaN where a side has none. It is shown beside the index, which decides.
    """

    name: str
    psi: float
    null_share: tuple[float, float]
    median: tuple[float, float]
    ks: float


@dataclass(frozen=True)
class Drift:
    """psi: of each feature that can drift, in the order of the service; empty where a side has no rows.

    score_psi: None where scores of either side are fewer than MIN_ROWS. moved: the TOP features, worst
    first; of each pair the reference comes first.
    """

    rows: int
    reference_rows: int
    psi: dict[str, float]
    score_psi: float | None
    moved: tuple[Moved, ...]

    @property
    def judged(self) -> bool:
        """Whether there are rows enough to tell drift from chance."""
        return min(self.rows, self.reference_rows) >= MIN_ROWS

    @property
    def drifted(self) -> int:
        return sum(value > DRIFTED for value in self.psi.values())

    @property
    def share(self) -> float:
        return self.drifted / len(self.psi) if self.psi else 0.0

    @property
    def chance(self) -> float | None:
        """The index of a feature that has not moved, on average."""
        return by_chance(self.reference_rows, self.rows) if self.psi else None

    @property
    def within_bounds(self) -> bool:
        """Neither too many features nor the score has drifted; also where it cannot be told."""
        score = self.score_psi or 0.0
        return not self.judged or (self.share <= MAX_DRIFTED_SHARE and score <= DRIFTED)

    @property
    def severe(self) -> bool:
        """So far out of bounds that nobody should wait for a person to look."""
        return self.judged and (self.share > SEVERE_SHARE or (self.score_psi or 0.0) > SEVERE)


def of_the_clock(service: FeatureService) -> frozenset[str]:
    """Features of the event time alone: a Saturday is unlike a month on any calendar, and that is no drift."""
    return frozenset(item.name for item in service.request if set(item.inputs) == {CLOCK})


def drift_between(reference: Sample, current: Sample, ignored: frozenset[str] = frozenset()) -> Drift:
    """A day against its reference, but for the features `ignored`. Raises OtherFeatures."""
    if reference.names != current.names:
        raise OtherFeatures(_explained(reference.names, current.names))
    before, now = reference.thinned(SAMPLE_ROWS), current.thinned(SAMPLE_ROWS)
    psi: dict[str, float] = {}
    if len(before) and len(now):
        psi = {
            name: column_psi(before.features[:, place], now.features[:, place])
            for place, name in enumerate(current.names)
            if name not in ignored
        }
    worst = sorted(psi, key=lambda name: (-psi[name], name))[:TOP]
    moved = tuple(_moved(name, psi[name], before.column(name), now.column(name)) for name in worst)
    return Drift(len(now), len(before), psi, _score_psi(before.scores, now.scores), moved)


def _score_psi(reference: Floats, current: Floats) -> float | None:
    if min(len(reference), len(current)) < MIN_ROWS:
        return None
    return column_psi(reference, current)


def _moved(name: str, psi: float, reference: Features, current: Features) -> Moved:
    apart = ks_distance(reference, current)
    return Moved(
        name,
        psi,
        (float(np.isnan(reference).mean()), float(np.isnan(current).mean())),
        (_median(reference), _median(current)),
        apart.distance if apart else float("nan"),
    )


def _median(column: Features) -> float:
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else float("nan")


def _some(count: int, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if count <= rows:
        return np.arange(count, dtype=np.int64)
    return np.sort(rng.choice(count, rows, replace=False)).astype(np.int64)


def _explained(reference: Sequence[str], current: Sequence[str]) -> str:
    gone, new = sorted(set(reference) - set(current)), sorted(set(current) - set(reference))
    return (
        f"OtherFeatures: the reference lacks {new[:3]} and has {gone[:3]} too much, {len(gone) + len(new)} in all. "
        "Materialize training_set of this code first."
    )
