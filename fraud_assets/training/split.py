"""Splits of a window in time: the past trains and the newest validates; or each part is scored by the others."""

import itertools
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.topics import DAY_MS

Ints = npt.NDArray[np.int64]

VALIDATION_SHARE = 0.25  # enough frauds to compare candidates by, and most of the window left to learn from
FOLDS = 5  # each model then learns from nearly as much as the final one, whose scores theirs stand for
# Left out on both sides of a scored part: a burst of card testing and its cash-out is over within a day or so, and a
# model that has seen half of it knows the other half. The label delay would leave too little to learn from.
FOLD_GAP_DAYS = 1
# But never so much that little of a neighbouring part is left: the newest part is scored by what is older.
FOLD_GAP_SHARE = 1 / 3


class SplitKind(StrEnum):
    """How rows are parted into those that candidates learn from and those that compare them."""

    TEMPORAL = "temporal"
    STRATIFIED = "stratified"


class TooShort(ValueError):
    """A window that leaves nothing to train on or nothing to validate with."""


@dataclass(frozen=True)
class Split:
    """train, validate: row numbers. Rows between them belong to neither."""

    train: Ints
    validate: Ints


def temporal_split(
    event_time_ms: Ints, is_fraud: npt.NDArray[np.bool_], from_ms: int, to_ms: int, label_delay_days: float
) -> Split:
    """Validation is the newest quarter of [from_ms, to_ms); training ends a label delay before it begins.

    A model trained on the eve of the validation would not have known the labels of the gap.
    Raises TooShort where either side lacks frauds or legitimate rows.
    """
    first = max(from_ms, int(event_time_ms.min()))
    cut = to_ms - int((to_ms - first) * VALIDATION_SHARE)
    train = np.flatnonzero(event_time_ms < cut - label_delay_days * DAY_MS).astype(np.int64)
    validate = np.flatnonzero(event_time_ms >= cut).astype(np.int64)
    for name, rows in (("training part", train), ("validation part", validate)):
        _check(name, rows, is_fraud, first, to_ms, f" and the label gap {label_delay_days}")
    return Split(train, validate)


def stratified_split(is_fraud: npt.NDArray[np.bool_], seed: int) -> Split:
    """A quarter of the frauds and a quarter of the rest, drawn at random, validate; all others train.

    For a history whose newest quarter holds too few frauds to compare by. It flatters: a candidate has seen the other half of each
    burst, and what came after. Raises TooShort where either side lacks frauds or legitimate rows.
    """
    rng = np.random.default_rng(seed)
    validate = np.zeros(len(is_fraud), bool)
    for rows in (np.flatnonzero(is_fraud), np.flatnonzero(~is_fraud)):
        validate[rng.permutation(rows)[: round(len(rows) * VALIDATION_SHARE)]] = True
    found = Split(np.flatnonzero(~validate).astype(np.int64), np.flatnonzero(validate).astype(np.int64))
    for rows in (found.train, found.validate):
        frauds = int(is_fraud[rows].sum())
        if not 0 < frauds < len(rows):
            raise TooShort(
                f"TooShort: a stratified part has {len(rows)} rows and {frauds} frauds; it needs both kinds."
            )
    return found


def folds(event_time_ms: Ints, is_fraud: npt.NDArray[np.bool_], count: int = FOLDS) -> list[Split]:
    """`count` parts of equal time, each as `validate` of what lies a gap before and after it.

    Together they score every row by a model that has not seen it. Not a measure of how a model will do:
    these know the future. Raises TooShort where the rest of a part lacks frauds or legitimate rows.
    """
    first, last = int(event_time_ms.min()), int(event_time_ms.max()) + 1
    edges = np.linspace(first, last, count + 1).astype(np.int64)
    gap_ms, found = min(FOLD_GAP_DAYS * DAY_MS, (last - first) / count * FOLD_GAP_SHARE), []
    for begin, end in itertools.pairwise(edges.tolist()):
        rest = (event_time_ms < begin - gap_ms) | (event_time_ms >= end + gap_ms)
        found.append(
            Split(
                np.flatnonzero(rest).astype(np.int64),
                np.flatnonzero((event_time_ms >= begin) & (event_time_ms < end)).astype(np.int64),
            )
        )
    for split in found:
        _check("rest of a fold", split.train, is_fraud, first, last)
    return found


def _check(name: str, rows: Ints, is_fraud: npt.NDArray[np.bool_], from_ms: int, to_ms: int, but: str = "") -> None:
    frauds = int(is_fraud[rows].sum())
    if not 0 < frauds < len(rows):
        raise TooShort(
            f"TooShort: the {name} has {len(rows)} rows and {frauds} frauds; it needs both kinds. "
            f"The window is {(to_ms - from_ms) / DAY_MS:.1f} days{but}: give it more history."
        )
