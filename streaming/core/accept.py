"""From bytes to an accepted event, or to the reason why not. Pure; no verdict on duplicates yet."""

from collections.abc import Iterable, Mapping

from fraud_assets.contracts.codec import BadEvent, Reason, decode
from fraud_assets.contracts.tokens import BadTokenField, TokenKey, tokenised
from streaming.core.records import Accepted, DeadLetter, Record, Refusal
from streaming.core.sources import RawSource

# One event dated ahead would move its key's windows past every honest event that follows.
MAX_AHEAD_MS = 5 * 60_000

TopicPartition = tuple[str, int]


class ArrivalClock:
    """Arrival of each record: the running maximum of append times in its partition.

    A broker's clock may step back, and log order may not.
    """

    def __init__(self) -> None:
        self._newest: dict[TopicPartition, int] = {}

    def restore(self, at: TopicPartition, newest_ms: int) -> None:
        """What an earlier process had seen of this partition."""
        self._newest[at] = max(newest_ms, self._newest.get(at, newest_ms))

    def arrival_ms(self, record: Record) -> int:
        at = (record.topic, record.partition)
        self._newest[at] = max(record.timestamp_ms, self._newest.get(at, record.timestamp_ms))
        return self._newest[at]

    def newest_ms(self, at: TopicPartition) -> int:
        return self._newest[at]


def accept(source: RawSource, record: Record, arrival_ms: int, key: TokenKey) -> Accepted | DeadLetter:
    """The event in a record, every bound of its contract checked and nothing raw in it, or its dead letter."""
    if record.value is None:
        return DeadLetter(record, Reason.MALFORMED_JSON, detail="no value; topics of events take no tombstones")
    try:
        sent = decode(source.contract, record.value, max_bytes=source.max_bytes)
        event = tokenised(sent, key)
    except BadEvent as bad:
        return DeadLetter(record, bad.reason, bad.field, bad.detail)
    except BadTokenField as bad:
        return DeadLetter(record, Reason.INVALID_VALUE, bad.field, bad.fix)
    # Another key is another partition: order would be lost, and a copy would not meet its first.
    if record.key != getattr(event, source.key_field).encode():
        return DeadLetter(record, Refusal.WRONG_KEY, source.key_field, "the record's key must be this field")
    if not source.may_be_ahead and event.event_time_ms > arrival_ms + MAX_AHEAD_MS:
        ahead_s = (event.event_time_ms - arrival_ms) // 1000
        return DeadLetter(record, Refusal.FUTURE_DATED, "event_time_ms", f"{ahead_s} s after its arrival")
    return Accepted(record, event, arrival_ms, was_raw=event is not sent)


def accept_all(
    sources: Mapping[str, RawSource], records: Iterable[Record], clock: ArrivalClock, key: TokenKey
) -> list[Accepted | DeadLetter]:
    """One outcome per record, in order."""
    return [accept(sources[record.topic], record, clock.arrival_ms(record), key) for record in records]
