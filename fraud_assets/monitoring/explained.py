"""Whether every decision has its explanation: the explainer skips none, and this looks."""

import pyarrow.compute as pc

from fraud_assets.stores.lake import Lake

IDENTITY = ["account_id", "decision_id"]
# Of the newest decision's arrival: what came later may still be on its way, through a batch, the router and the sink.
GRACE_MS = 10 * 60_000


def unexplained(lake: Lake, from_ms: int, to_ms: int) -> list[str]:
    """Decision ids with event time in [from_ms, to_ms) that the table of explanations does not have, ascending.

    They are in the dead letters (`unknown_model`, `other_score`, `other_vector`), or the explainer does not run.
    """
    decided = lake.scan("decisions", from_ms, to_ms, columns=[*IDENTITY, "ingested_at_ms"])
    if not decided.num_rows:
        return []
    settled = decided.filter(pc.less(decided["ingested_at_ms"], pc.max(decided["ingested_at_ms"]).as_py() - GRACE_MS))
    told = lake.scan("explanations", from_ms, to_ms, columns=IDENTITY)
    missing: list[str] = settled.join(told, IDENTITY, join_type="left anti")["decision_id"].to_pylist()
    return sorted(missing)
