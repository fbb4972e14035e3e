"""What an erasure cannot reach, until when it is there, and why. Part of each receipt."""

from fraud_assets.contracts import topics
from fraud_assets.contracts.topics import DAY_MS, Topic, entity_topic
from fraud_assets.features.registry import Registry
from fraud_assets.stores.receipts import Remains

# A segment is deleted when its newest record is too old, and the broker keeps one open for a week (Kafka's `log.roll.hours`).
SEGMENT_MS = 7 * DAY_MS
IDEMPOTENCY_MAX_MS = 30 * DAY_MS  # the most that FRAUD_IDEMPOTENCY_TTL_S allows
PERSONAL = (
    topics.TRANSACTIONS, topics.ACTIVITY, topics.PROFILES, topics.LABELS, topics.LABEL_FACTS, topics.DECISIONS, topics.EXPLANATIONS,
    topics.FEATURE_VECTORS, topics.DEAD_LETTERS, topics.DEAD_LETTER_REPLAYS,
)  # fmt: skip


def remains(
    registry: Registry, now_ms: int, dedupe_horizon_ms: int, *, has_store: bool, has_database: bool
) -> list[Remains]:
    """Of whatever was written before `now_ms`."""
    entity = [entity_topic(group.name) for group in registry.groups]
    found = [
        *(_topic(topic, now_ms) for topic in (*PERSONAL, *entity)),
        _that("store dd:*", now_ms + 2 * dedupe_horizon_ms, "hashes of ids that tell copies from firsts; no id can be read from one"),
        _that("store fraud:idempotency:*", now_ms + IDEMPOTENCY_MAX_MS, "answers by hashes of keys; FRAUD_IDEMPOTENCY_TTL_S, one day by default"),
        _that("states, features and training rows of others", None, "counts and sums that the person's events were part of; no id of his"),
        _that("models", None, "trees fitted to rows that his were among; a model trained from now on has not seen them"),
        _that("scorer journals", None, "the newest segment, 8 MiB, until the next decisions fill it"),
        _that("scorer journals: unrecordable, *.torn", None, "decisions that could not be recorded; to be removed by hand"),
        _that("logs, Dagster's event log, backups", None, "by their own retention; no account is written to a log line"),
    ]  # fmt: skip
    if not has_store:
        found.append(_that("store states", None, "the command was told that there is no online store"))
    if not has_database:
        found.append(
            _that("postgres decisions, explanations", None, "the command was told that there is no PostgreSQL")
        )
    return found


def _topic(topic: Topic, now_ms: int) -> Remains:
    days = topic.retention_ms // DAY_MS
    return _that(
        f"topic {topic.name}",
        now_ms + topic.retention_ms + SEGMENT_MS,
        f"{days} days of retention, and a segment of a week at most",
    )


def _that(place: str, until_ms: int | None, why: str) -> Remains:
    return Remains(place=place, until_ms=until_ms, why=why)
