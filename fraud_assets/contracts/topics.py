"""Topics: their names carry the contract's version, their stamps are the broker's.

Raw topics are keyed by account so that a copy of a transaction meets its first in one partition.
"""

import msgspec

from fraud_assets.contracts.events import (
    Activity,
    Decision,
    Event,
    Explanation,
    FeatureVector,
    Label,
    LabelFact,
    Profile,
    Transaction,
)
from fraud_assets.contracts.prices import PriceDecision, PricedInterval
from fraud_assets.contracts.shapes import check_compatible

DAY_MS = 86_400_000

# Raw topics take half of what the dead letters do (the brokers' default), so that every record that
# fits its topic still fits with the reason of its refusal in front; else one could stop the worker.
MAX_RECORD_BYTES = 512 * 1024
MAX_DEAD_LETTER_BYTES = 2 * MAX_RECORD_BYTES

# librdkafka's name for what Java clients do. Every producer of a raw topic sets it: one account, one
# partition, whoever produces, so that copies meet and a label meets its transaction.
PARTITIONER = "murmur2_random"


# Of decisions and labels: the scorer's client that asked, as `python -m api keys` or the token's issuer names it.
CLIENT_HEADER = "client"


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """name: versioned; key: the contract field that chooses the partition; retention_ms: explicit.

    Raises IncompatibleContract where it is declared, so no process that produces or consumes starts with a contract
    that breaks with a recorded version of its topic.
    """

    name: str
    key: str
    contract: type[Event] | None
    partitions: int = 8
    retention_ms: int = 7 * DAY_MS
    max_bytes: int = MAX_RECORD_BYTES

    def __post_init__(self) -> None:
        if self.contract is not None:
            check_compatible(self.name, self.contract)

    def config(self) -> dict[str, str]:
        """Broker settings; LogAppendTime makes the broker's clock the one arrival clock."""
        return {
            "message.timestamp.type": "LogAppendTime",
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(self.max_bytes),
        }


TRANSACTIONS = Topic(name="transactions.v1", key="account_id", contract=Transaction)
ACTIVITY = Topic(name="activity.v1", key="event_id", contract=Activity)
PROFILES = Topic(name="profiles.v1", key="account_id", contract=Profile)
LABELS = Topic(name="labels.v1", key="account_id", contract=Label)
LABEL_FACTS = Topic(name="label_facts.v1", key="account_id", contract=LabelFact)
DECISIONS = Topic(name="decisions.v1", key="account_id", contract=Decision)
EXPLANATIONS = Topic(name="explanations.v1", key="account_id", contract=Explanation)
# For consumers outside; nothing of ours reads it, since the lake's decisions hold the same vectors.
FEATURE_VECTORS = Topic(name="feature_vectors.v1", key="account_id", contract=FeatureVector)
PRICE_DECISIONS = Topic(name="price_decisions.v1", key="event_id", contract=PriceDecision)
PRICE_OUTCOMES = Topic(name="price_outcomes.v1", key="event_id", contract=PricedInterval)
DEAD_LETTERS = Topic(
    name="dead_letters.v1",
    key="",
    contract=None,
    partitions=1,
    retention_ms=30 * DAY_MS,
    max_bytes=MAX_DEAD_LETTER_BYTES,
)
# What of the dead letters was sent again. Kept longer than any letter: a segment goes when its newest record is too
# old, so a letter may outlive its own retention by as long as a segment is open.
DEAD_LETTER_REPLAYS = Topic(
    name="dead_letter_replays.v1", key="", contract=None, partitions=1, retention_ms=2 * DEAD_LETTERS.retention_ms
)

RAW_TOPICS = (TRANSACTIONS, ACTIVITY, PROFILES, LABELS, LABEL_FACTS)
# What is decided, and what the worker makes of that.
DECIDED_TOPICS = (DECISIONS, EXPLANATIONS, FEATURE_VECTORS, PRICE_DECISIONS, PRICE_OUTCOMES)


def entity_topic(group: str) -> Topic:
    """The topic all records of one entity type are re-keyed to; one consumer writes a given key."""
    return Topic(name=f"entity.{group}.v1", key="entity_key", contract=None)
