"""What was known of each transaction: the sum of its signed facts."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.stores.identity import identities
from fraud_assets.stores.lake import Lake

FACT_COLUMNS = ("account_id", "transaction_id", "is_fraud", "sign")


def verdicts_as_known(lake: Lake, as_known_at_ms: int | None = None) -> dict[str, int]:
    """Identity (`stores/identity.py`) to 1 (fraud) or 0 (legitimate), of those with a fact that stands."""
    return verdicts(lake.scan("label_facts", as_known_at_ms=as_known_at_ms, columns=FACT_COLUMNS))


def spoken_of(lake: Lake, from_ms: int, as_known_at_ms: int | None = None) -> set[str]:
    """Identities of which a label has said something since `from_ms`. Of a payment that was denied, silence says nothing."""
    columns = ["account_id", "transaction_id"]
    said = lake.scan("labels", from_ms, as_known_at_ms=as_known_at_ms, columns=columns)
    return set(identities(said).to_pylist())


def verdicts(facts: pa.Table) -> dict[str, int]:
    """Facts less retractions: fraud where a fraud fact stands, legitimate where only a legitimate one does."""
    sign = facts["sign"].cast(pa.int64())
    fraud = pc.multiply(sign, facts["is_fraud"].cast(pa.int64()))
    stands = (
        pa.table({"id": identities(facts), "fraud": fraud, "all": sign})
        .group_by("id")
        .aggregate([("fraud", "sum"), ("all", "sum")])
    )
    known = stands.filter(pc.greater(stands["all_sum"], 0))
    return dict(zip(known["id"].to_pylist(), np.minimum(known["fraud_sum"].to_numpy(), 1).tolist(), strict=True))
