"""From bytes to an accepted event, or to the reason why not. Pure; no verdict on duplicates yet."""

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from fraud_assets.contracts.cards import CardsInIds, HoldsCard, on_card, without_cards
from fraud_assets.contracts.codec import BadEvent, Reason, decode
from fraud_assets.contracts.events import Event
from fraud_assets.contracts.tokens import BadTokenField, TokenKey, tokenised
from streaming.core.changes import change_of, version_of
from streaming.core.records import Accepted, DeadLetter, Dropped, Record, Refusal
from streaming.core.sources import RawSource

# One event dated ahead would move its key's windows past every honest event that follows.
MAX_AHEAD_MS = 5 * 60_000

TopicPartition = tuple[str, int]
Decode = Callable[..., Event]
"""As `codec.decode` is called."""


class Peak(NamedTuple):
    """A record that is newer than all before it in its partition."""

    offset: int
    append_ms: int


# Of peaks that had an older record behind them: one for each step back of a broker's clock.
MAX_PEAKS = 64


class ArrivalClock:
    """Arrival of each record: the running maximum of append times in its partition.

    A broker's clock may step back, and log order may not. It is a function of the log before the record and of nothing else,
    though partitions come and go and are read again from earlier: a maximum of all that was *read* would date a record by
    those behind it. So what is kept are peaks, facts of the log that hold whatever is read next. Only those with an older
    record behind them can ever be needed again, and the newest one, for the record that follows.

    What it does not know is what was before it began, or before the oldest peak that it keeps: `complete_from`.
    """

    def __init__(self) -> None:
        self._peaks: dict[TopicPartition, list[Peak]] = defaultdict(list)
        self._newest: dict[TopicPartition, Peak] = {}
        self._next: dict[TopicPartition, int] = {}
        self._complete_from: dict[TopicPartition, int] = {}

    def is_at(self, at: TopicPartition, offset: int) -> bool:
        """Whether the record before was the last one seen of the partition."""
        return self._next.get(at) == offset

    def restore(self, at: TopicPartition, peaks: Iterable[Peak], complete_from: int) -> None:
        """What an earlier process, or another owner, had seen of this partition; from which offset on nothing is missing among it."""
        self._complete_from[at] = complete_from
        for peak in peaks:
            self._keep(at, peak)

    def complete_from(self, at: TopicPartition) -> int:
        """The first offset whose arrival can be told."""
        return self._complete_from.get(at, 0)

    def arrival_ms(self, record: Record) -> int:
        at = (record.topic, record.partition)
        newest = Peak(record.offset, record.timestamp_ms)
        before = self._newest[at] if self.is_at(at, record.offset) else self._before(at, record.offset)
        if before is not None and before.append_ms > record.timestamp_ms:
            self._keep(at, before)
            newest = before
        self._newest[at], self._next[at] = newest, record.offset + 1
        return newest.append_ms

    def peaks(self, at: TopicPartition) -> tuple[Peak, ...]:
        """All that is needed to go on from here, or from any offset since `complete_from` that was read; ascending."""
        return tuple(sorted({*self._peaks[at], self._newest[at]}))

    def _before(self, at: TopicPartition, offset: int) -> Peak | None:
        known = [peak for peak in (*self._peaks[at], *filter(None, [self._newest.get(at)])) if peak.offset < offset]
        return max(known, key=lambda peak: peak.append_ms, default=None)

    def _keep(self, at: TopicPartition, peak: Peak) -> None:
        if peak not in self._peaks[at]:
            insort(self._peaks[at], peak)
            if len(self._peaks[at]) > MAX_PEAKS:
                del self._peaks[at][0]
                self._complete_from[at] = max(self.complete_from(at), self._peaks[at][0].offset + 1)


def accept(
    source: RawSource,
    record: Record,
    arrival_ms: int,
    key: TokenKey,
    cards_in_ids: CardsInIds = "refuse",
    read: Decode = decode,
) -> Accepted | DeadLetter | Dropped:
    """The event in a record, every bound of its contract checked and nothing raw in it, or its dead letter.

    Dropped: of a row that is gone, for what was so at its time stays so. read: `decode_judged` for who follows a router.
    """
    if record.value is None and source.takes_changes:
        return Dropped(record, "tombstone")
    if record.value is None:
        return DeadLetter(record, Reason.MALFORMED_JSON, detail="no value; topics of events take no tombstones")
    card_like = list[str]()
    try:
        change = change_of(record.value) if source.takes_changes else None
        if change is None:
            sent = read(source.contract, record.value, max_bytes=source.max_bytes)
        elif change.after is None:
            return Dropped(record, "deleted_row")
        else:
            sent = version_of(change, source.contract, source.id_field, source.max_bytes)
        event = without_cards(tokenised(sent, key), on_card(cards_in_ids, card_like))
    except BadEvent as bad:
        return DeadLetter(record, bad.reason, bad.field, bad.detail)
    except BadTokenField as bad:
        return DeadLetter(record, Reason.INVALID_VALUE, bad.field, bad.fix)
    except HoldsCard as bad:
        return DeadLetter(record, Refusal.CARD_NUMBER, bad.field, bad.fix)
    # Another key is another partition: order would be lost, and a copy would not meet its first.
    if record.key != getattr(event, source.key_field).encode():
        return DeadLetter(record, Refusal.WRONG_KEY, source.key_field, "the record's key must be this field")
    if not source.may_be_ahead and event.event_time_ms > arrival_ms + MAX_AHEAD_MS:
        ahead_s = (event.event_time_ms - arrival_ms) // 1000
        return DeadLetter(record, Refusal.FUTURE_DATED, "event_time_ms", f"{ahead_s} s after its arrival")
    was_raw, was_change = event is not sent, change is not None
    return Accepted(record, event, arrival_ms, was_raw=was_raw, was_change=was_change, card_like=tuple(card_like))


def accept_all(
    sources: Mapping[str, RawSource],
    records: Iterable[Record],
    clock: ArrivalClock,
    key: TokenKey,
    cards_in_ids: CardsInIds = "refuse",
    read: Decode = decode,
) -> list[Accepted | DeadLetter | Dropped]:
    """One outcome per record, in order."""
    return [
        accept(sources[record.topic], record, clock.arrival_ms(record), key, cards_in_ids, read) for record in records
    ]
