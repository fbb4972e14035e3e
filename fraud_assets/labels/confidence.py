"""Confidences as of a day: made, read back, and turned into training weights."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from fraud_assets.labels.graph import transactions_as_known
from fraud_assets.labels.propagation import Propagated, propagate
from fraud_assets.labels.shapes import CONFIDENCE, Caps
from fraud_assets.labels.statements import (
    IDENTITY,
    cleared,
    facts_as_known,
    frame,
    standing_frauds,
    statements_as_known,
)
from fraud_assets.stores.keyed_tables import get_table, of_day
from fraud_assets.stores.lake import Lake

Floats = npt.NDArray[np.float64]
FRAUD, LEGITIMATE = 1, 0


class BadConfidence(ValueError):
    """A confidence that is none."""


def confidence_as_of(lake: Lake, edges: pa.Table, as_of_ms: int, lookback_days: int, caps: Caps) -> Propagated:
    """Propagation over the identity graph `edges` of the same instant, from what was known then. Raises StaleGraph."""
    return propagate(
        edges,
        transactions_as_known(lake, as_of_ms, lookback_days),
        standing_frauds(facts_as_known(lake, as_of_ms)),
        cleared(statements_as_known(lake, as_of_ms)),
        caps,
    )


def confidences_as_of(root: str, day: str, account_ids: Sequence[str], transaction_ids: Sequence[str]) -> Floats:
    """(n,) confidence of each payment as of a day: 1 confirmed as fraud, 0 where nothing links it to one, or it is not known.

    Raises FileNotFoundError if `label_confidence` of that day was not made: then nothing is known, which is not 0.
    """
    rows = frame(get_table(root, CONFIDENCE.table, of_day(day), [*IDENTITY, "confidence"]))
    # An identity that comes again after the dedupe horizon is two payments, which a join would make four of.
    kept = rows.group_by(IDENTITY).agg(pl.col("confidence").max())
    asked = pl.DataFrame(
        [pl.Series("account_id", account_ids, pl.String), pl.Series("transaction_id", transaction_ids, pl.String)]
    )
    found = asked.join(kept, on=IDENTITY, how="left", maintain_order="left")["confidence"]
    confidence: Floats = found.fill_null(0.0).to_numpy()
    return confidence


def sample_weight(confidence: Floats, verdict: npt.NDArray[np.integer]) -> Floats:
    """(n,) how much each training row counts, for the class that its verdict gives it.

    confidence: (n,) in [0, 1]. verdict: (n,) FRAUD, LEGITIMATE, or another number where there is none.

    - A confirmed fraud counts 1, whatever hangs together with it.
    - A legitimate one counts 1 − confidence. Nearly all of these are legitimate for want of a complaint, and in a ring of which half is
      confirmed the other half is more likely unnoticed than honest. At weight 1 the model would be taught that a ring's
      pattern is innocent; as frauds of weight `confidence` it would be taught our guess as truth, and tomorrow's guess would rest on it.
      One that somebody has looked at and cleared has confidence 0, and so counts 1.
    - Without a verdict a row counts 0: its label delay is not over.

    Raises BadConfidence.
    """
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise BadConfidence(
            "BadConfidence: a confidence is in [0, 1], and NaN is none; `confidences_as_of` gives 0 where nothing is known."
        )
    return np.where(verdict == FRAUD, 1.0, np.where(verdict == LEGITIMATE, 1.0 - confidence, 0.0))
