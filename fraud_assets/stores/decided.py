"""What the lake has of decisions, each payment once, for whoever looks at a model's answers."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.stores.identity import identities
from fraud_assets.stores.lake import Lake

COLUMNS = (
    "event_time_ms", "account_id", "transaction_id", "model_version", "fraud_score", "shadow_scores", "action",
    "degraded_reasons", "self_included",
)  # fmt: skip


def decided(lake: Lake, from_ms: int, to_ms: int) -> pa.Table:
    """COLUMNS of the first decision on each payment of [from_ms, to_ms): it is the one that was acted on.

    Without degraded ones and those whose states had seen the payment already, as training and drift leave them out: a score of nothing,
    or of the answer, says nothing of the model.
    """
    rows = lake.scan("decisions", from_ms, to_ms, columns=COLUMNS)
    read = pc.equal(pc.list_value_length(rows["degraded_reasons"]), 0)
    kept = rows.filter(pc.and_(read, pc.invert(rows["self_included"])))
    _, first = np.unique(identities(kept).to_numpy(zero_copy_only=False), return_index=True)
    return kept.take(pa.array(np.sort(first)))


def deciding_version(rows: pa.Table) -> str | None:
    """The model that decided most of them: a mixture of two models' scores is neither's. None where nothing was decided."""
    counted = Counter(rows["model_version"].to_pylist())
    return min(counted, key=lambda version: (-counted[version], version)) if counted else None


def scores_by(version: str, rows: pa.Table) -> npt.NDArray[np.float64]:
    """(n,) what a version said of each, be it the one that decided or the one beside it; NaN where it said nothing."""
    decides = pc.equal(rows["model_version"], version).to_numpy()
    return np.where(decides, rows["fraud_score"].to_numpy(), by_version(version, rows["shadow_scores"]))


def by_version(version: str, said: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """(n,) a version's entry of each map; NaN where there is none."""
    found: npt.NDArray[np.float64] = pc.map_lookup(said, pa.scalar(version), "first").fill_null(np.nan).to_numpy()
    return found
