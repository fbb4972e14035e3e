"""How much each row of a training set counts: by what label propagation knew of it as of the same day."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraud_assets.labels.confidence import confidences_as_of, sample_weight
from fraud_assets.labels.shapes import CONFIDENCE
from fraud_assets.training.dataset import Weigh


class NoConfidences(FileNotFoundError):
    """The day's confidences were not made; which is not the same as nobody being linked to a fraud."""


def propagation_weights(labels_root: str, as_of: str) -> Weigh:
    """Weights by `label_confidence` of a day, which knows what a set as of that day may know, and no more.

    What it returns raises NoConfidences, BadConfidence.
    """

    def weigh(rows: pa.Table, verdict: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
        accounts, transactions = (rows[name].to_pylist() for name in ("account_id", "transaction_id"))
        try:
            return sample_weight(confidences_as_of(labels_root, as_of, accounts, transactions), verdict)
        except FileNotFoundError:
            raise NoConfidences(
                f"NoConfidences: {CONFIDENCE.table} of {as_of} was not made, and FRAUD_PROPAGATION_WEIGHTS weighs rows by it."
                f" Materialize identity_graph and {CONFIDENCE.table} of that day first, or switch the weights off."
            ) from None

    return weigh
