"""The raw topics: what identifies an event on each, and what the worker does with it."""

from dataclasses import dataclass

from fraud_assets.contracts import codec, topics
from fraud_assets.contracts.events import Event
from fraud_assets.contracts.topics import Topic


@dataclass(frozen=True)
class RawSource:
    """One raw topic.

    id_field: with the topic's key, the identity that duplicates share; both copies meet in one
    partition. may_be_ahead: a profile's valid-from may lie ahead of its arrival. takes_changes: rows' changes too, see core/changes.py.
    """

    topic: Topic
    contract: type[Event]
    table: str
    id_field: str
    may_be_ahead: bool = False
    takes_changes: bool = False
    max_bytes: int = codec.MAX_EVENT_BYTES

    @property
    def key_field(self) -> str:
        return self.topic.key

    def identity(self, event: Event) -> tuple[str, str]:
        return getattr(event, self.key_field), getattr(event, self.id_field)


# A decision repeats some 350 features and the position of each state it read.
MAX_DECISION_BYTES = 256 * 1024


def _source(
    topic: Topic,
    table: str,
    id_field: str,
    *,
    may_be_ahead: bool = False,
    takes_changes: bool = False,
    max_bytes: int = codec.MAX_EVENT_BYTES,
) -> RawSource:
    assert topic.contract is not None, f"{topic.name} has no contract"
    return RawSource(topic, topic.contract, table, id_field, may_be_ahead, takes_changes, max_bytes)


SOURCES: dict[str, RawSource] = {
    source.topic.name: source
    for source in (
        _source(topics.TRANSACTIONS, "transactions", "transaction_id"),
        _source(topics.ACTIVITY, "activity", "activity_id"),
        _source(topics.PROFILES, "profiles", "profile_id", may_be_ahead=True, takes_changes=True),
        _source(topics.LABELS, "labels", "label_id"),
        _source(topics.LABEL_FACTS, "label_facts", "fact_id"),
        _source(topics.DECISIONS, "decisions", "decision_id", max_bytes=MAX_DECISION_BYTES),
        _source(topics.EXPLANATIONS, "explanations", "decision_id", max_bytes=MAX_DECISION_BYTES),
        _source(topics.PRICE_DECISIONS, "price_decisions", "decision_id", max_bytes=MAX_DECISION_BYTES),
        _source(topics.PRICE_OUTCOMES, "price_outcomes", "decision_id"),
    )
}
