"""The vectors of a day: those that were served, or, where nothing was decided, what history says they are."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.engine.batch import Spine, vectors
from fraud_assets.engine.plan import ServicePlan
from fraud_assets.monitoring.drift import MIN_ROWS, SAMPLE_ROWS, SEED, Sample
from fraud_assets.monitoring.served import VECTOR_COLUMNS, served_vectors
from fraud_assets.stores.history import HistoryReader, rows_between
from fraud_assets.stores.served import Floats

COLUMNS = (
    "event_time_ms", "service_digest", *VECTOR_COLUMNS, "fraud_score", "model_version", "degraded_reasons", "self_included",
)  # fmt: skip


class Origin(StrEnum):
    SERVED = "served"
    RECOMPUTED = "recomputed"


@dataclass(frozen=True)
class Day:
    """sample: vectors, and the scores that `model_version` gave; no scores and no model if recomputed."""

    sample: Sample
    origin: Origin
    model_version: str | None


def vectors_of_day(reader: HistoryReader, service: ServicePlan, from_ms: int, to_ms: int) -> Day:
    """Served vectors of [from_ms, to_ms) if they are enough to judge by, else those of its transactions.

    Left out: decisions of other definitions, degraded ones, which read nothing, and those whose states had
    already seen the transaction; training leaves the last out too, and the others are no drift. So are vectors of another
    width, which the skew report names.
    """
    rows = reader.lake.scan("decisions", from_ms, to_ms, columns=COLUMNS)
    own = pc.equal(rows["service_digest"], service.engine.registry.service_digest(service.service))
    read = pc.equal(pc.list_value_length(rows["degraded_reasons"]), 0)
    kept = rows.filter(pc.and_(pc.and_(own, read), pc.invert(rows["self_included"])))
    features, sound = served_vectors(kept, len(service.names))
    if sound.sum() >= MIN_ROWS:
        return _served(service, kept.filter(pa.array(sound)), features[sound])
    return _recomputed(reader, service, from_ms, to_ms)


def _served(service: ServicePlan, rows: pa.Table, features: Floats) -> Day:
    """Scores of the model that made most decisions: a mixture of two models' is neither's distribution."""
    model, _ = Counter(rows["model_version"].to_pylist()).most_common(1)[0]
    scores = rows.filter(pc.equal(rows["model_version"], model))["fraud_score"].to_numpy()
    return Day(Sample(service.names, features, scores.astype(np.float64)), Origin.SERVED, model)


def _recomputed(reader: HistoryReader, service: ServicePlan, from_ms: int, to_ms: int) -> Day:
    scored = service.service.scored
    log = reader.log(service.sources)
    places = rows_between(log.columns[scored.name], from_ms, to_ms)
    if len(places) > SAMPLE_ROWS:
        places = np.sort(np.random.default_rng(SEED).choice(places, SAMPLE_ROWS, replace=False))
    features = vectors(service, log, Spine.of_events(log, scored.name).take(places)).features
    return Day(Sample(service.names, features, np.empty(0, np.float64)), Origin.RECOMPUTED, None)
