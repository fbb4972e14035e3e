"""Which scores a model's live payments should get: those of payments that it, or its stand-in, had not learnt from."""

from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fraud_assets.training import store
from fraud_assets.training.as_of import models_by_day
from fraud_assets.training.holdout import holdout_scores

Floats = npt.NDArray[np.float64]


class Expected(StrEnum):
    """holdout: the newest fifth of its window, scored by what knew only what is older, as live scoring does. validation: of the study's
    candidate, where the holdout is no longer kept. none: of a model that was made elsewhere, or whose files are gone.
    """

    HOLDOUT = "holdout"
    VALIDATION = "validation"
    NONE = "none"


def expected_scores(training_root: str, model_dir: Path, version: str) -> tuple[Floats, Expected]:
    """(m,) of a version's own training, and where they are from."""
    kept = holdout_scores(training_root, version)
    if len(kept):
        return kept, Expected.HOLDOUT
    days = [day for day, model in models_by_day(model_dir).items() if model == version]
    found = store.load_scores(training_root, days[-1]) if days else np.empty(0, np.float64)
    return found, Expected.VALIDATION if len(found) else Expected.NONE
