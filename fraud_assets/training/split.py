"""Temporal split with a label gap: the past trains, the newest validates, and no label leaps the line."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.topics import DAY_MS

Ints = npt.NDArray[np.int64]

VALIDATION_SHARE = 0.25  # enough frauds to compare candidates by, and most of the window left to learn from


class TooShort(ValueError):
    """A window that leaves nothing to train on or nothing to validate with."""


@dataclass(frozen=True)
class Split:
    """train, validate: row numbers. Rows between them belong to neither."""

    train: Ints
    validate: Ints


def temporal_split(
    event_time_ms: Ints, is_fraud: npt.NDArray[np.bool_], from_ms: int, to_ms: int, label_delay_days: int
) -> Split:
    """Validation is the newest quarter of [from_ms, to_ms); training ends a label delay before it begins.

    A model trained on the eve of the validation would not have known the labels of the gap.
    Raises TooShort where either side lacks frauds or legitimate rows.
    """
    first = max(from_ms, int(event_time_ms.min()))
    cut = to_ms - int((to_ms - first) * VALIDATION_SHARE)
    train = np.flatnonzero(event_time_ms < cut - label_delay_days * DAY_MS).astype(np.int64)
    validate = np.flatnonzero(event_time_ms >= cut).astype(np.int64)
    for name, rows in (("training", train), ("validation", validate)):
        frauds = int(is_fraud[rows].sum())
        if not 0 < frauds < len(rows):
            raise TooShort(
                f"TooShort: the {name} part has {len(rows)} rows and {frauds} frauds; it needs both kinds. "
                f"The window is {(to_ms - first) / DAY_MS:.1f} days and the label gap {label_delay_days}: give it more history."
            )
    return Split(train, validate)
