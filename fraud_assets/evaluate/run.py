"""The protocol run: vectors once, then every configuration on every fold."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraud_assets.engine.batch import Spine, Vectors, vector_chunks
from fraud_assets.evaluate.history import History
from fraud_assets.evaluate.measure import Measure, measures_of
from fraud_assets.evaluate.model import fit_and_score
from fraud_assets.stores.vector_files import write_vectors
from fraud_assets.training.metrics import average_precision, card_precision_at_k, recall_at_fpr, roc_auc
from fraud_assets.training.protocol import Fold, split

Bools = npt.NDArray[np.bool_]
Floats32 = npt.NDArray[np.float32]
Progress = Callable[[str], None]

TOP_CARDS = 100
FPR = 0.01
METRICS = ("roc_auc", "average_precision", f"card_precision_at_{TOP_CARDS}", "recall_at_1pct_fpr")


@dataclass(frozen=True)
class Outcome:
    """What one configuration reached: each metric by its name."""

    name: str
    train_days: int
    measures: Mapping[str, Measure]

    def as_json(self) -> dict[str, object]:
        said = {name: measure.as_json() for name, measure in self.measures.items()}
        return {"name": self.name, "train_days": self.train_days, **said}


def configurations(fold: Fold, count: int, train_days: Sequence[int]) -> list[list[Fold]]:
    """Prequential folds for each number of training days, all with the test weeks of the first."""
    return [list(replace(fold, history_days=days).prequential(count)) for days in train_days]


def rows_needed(history: History, runs: Sequence[Sequence[Fold]]) -> Bools:
    """(n,) transactions that any fold trains on or tests."""
    found = np.zeros(len(history.time_ms), bool)
    for fold in (fold for folds in runs for fold in folds):
        for start, end in ((fold.history_start_ms, fold.train_end_ms), (fold.test_start_ms, fold.test_end_ms)):
            found |= (history.time_ms >= start) & (history.time_ms < end)
    return found


def features_of(history: History, needed: Bools, progress: Progress, export: Path | None) -> Floats32:
    """(needed rows, n_features) point-in-time vectors. export: also write those of every transaction."""
    spine = Spine.of_events(history.log, history.service.service.scored.name)
    if export is None:
        spine, wanted = spine.take(np.flatnonzero(needed).astype(np.int64)), np.ones(int(needed.sum()), bool)
    else:
        wanted = needed
    kept = np.empty((int(wanted.sum()), len(history.service.names)), np.float32)
    chunks = _kept(_reported(history, spine, progress), wanted, kept)
    if export is None:
        for _ in chunks:
            pass
    else:
        write_vectors(export, history.service.names, chunks, _beside(history))
    return kept


def _reported(history: History, spine: Spine, progress: Progress) -> Iterator[Vectors]:
    return vector_chunks(
        history.service, history.log, spine, progress=lambda view, done, of: progress(f"features: {view} {done}/{of}")
    )


def _kept(chunks: Iterator[Vectors], wanted: Bools, kept: Floats32) -> Iterator[Vectors]:
    """The chunks, unchanged; their wanted rows are copied to `kept` on the way."""
    filled = 0
    for chunk in chunks:
        rows = chunk.features[wanted[chunk.first : chunk.first + len(chunk.features)]]
        kept[filled : filled + len(rows)] = rows
        filled += len(rows)
        yield chunk


def _beside(history: History) -> dict[str, pa.ChunkedArray]:
    """Ids, time, money and verdict to stand before the features in an export.

    A field that is also a feature is called `request.<field>`, as the feature language does: the
    feature is float32, the field is exact.
    """
    verdicts = history.verdicts.to_arrow()
    taken = set(history.service.names)
    columns = {
        f"request.{name}" if name in taken else name: history.rows[name]
        for name in history.service.service.scored.fields
        if name != "schema_version"
    }
    return columns | {name: verdicts[name] for name in ("is_fraud", "label_known_at_ms")}


def run(
    history: History, name: str, folds: Sequence[Fold], needed: Bools, features: Floats32, progress: Progress
) -> Outcome:
    """Train and measure one configuration on each of its folds."""
    place = np.cumsum(needed) - 1
    measured = []
    for number, fold in enumerate(folds, start=1):
        progress(f"{name}: fold {number} of {len(folds)}")
        part = split(fold, history.time_ms, history.card, history.is_fraud)
        train, test = np.flatnonzero(part.train), np.flatnonzero(part.test)
        score = fit_and_score(features[place[train]], history.is_fraud[train], features[place[test]])
        truth = history.is_fraud[test]
        cards = card_precision_at_k(part.test_day[test], history.card[test], truth, score, TOP_CARDS)
        ranked = roc_auc(truth, score), average_precision(truth, score), cards, recall_at_fpr(truth, score, FPR)
        measured.append(dict(zip(METRICS, ranked, strict=True)))
    return Outcome(name, folds[0].history_days or folds[0].train_days, measures_of(measured))
