"""Idempotent producers: a retried batch is recognised by its sequence number and not stored twice."""

from collections import deque
from dataclasses import dataclass, field

from kio.schema.errors import ErrorCode

from deploy.local.broker.errors import Refused
from deploy.local.broker.records import Appended, Header

# A producer keeps at most five requests in flight (max.in.flight.requests.per.connection), so a
# retry is never older than the last five batches. Kafka remembers as many.
REMEMBERED_BATCHES = 5
_SEQUENCES = 1 << 31  # sequence numbers wrap to 0 after int32's maximum


@dataclass
class _Producer:
    epoch: int
    batches: deque[tuple[int, int, Appended]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_BATCHES))


class ProducerStates:
    """What one partition remembers of each producer: epoch and (first sequence, last sequence, where stored)."""

    def __init__(self) -> None:
        self._producers: dict[int, _Producer] = {}

    def find_duplicate(self, header: Header) -> Appended | None:
        """Where this batch is already stored, or None if it is the next one.

        Raises Refused for an old epoch or a gap in the sequence.
        """
        known = self._producers.get(header.producer_id)
        if header.producer_id < 0 or known is None:
            return None
        if header.producer_epoch < known.epoch:
            raise Refused(ErrorCode.invalid_producer_epoch, f"epoch {header.producer_epoch} after {known.epoch}")
        if header.producer_epoch > known.epoch:
            return self._require(header, expected=0)
        for first, last, appended in known.batches:
            if (first, last) == (header.base_sequence, _last_sequence(header)):
                return appended
        return self._require(header, expected=(known.batches[-1][1] + 1) % _SEQUENCES)

    @staticmethod
    def _require(header: Header, expected: int) -> None:
        if header.base_sequence != expected:
            raise Refused(
                ErrorCode.out_of_order_sequence_number, f"sequence {header.base_sequence}, expected {expected}"
            )

    def remember(self, header: Header, appended: Appended) -> None:
        """Note a stored batch; also how the states are rebuilt from the log at start."""
        if header.producer_id < 0:
            return
        known = self._producers.get(header.producer_id)
        if known is None or known.epoch != header.producer_epoch:
            known = self._producers[header.producer_id] = _Producer(header.producer_epoch)
        known.batches.append((header.base_sequence, _last_sequence(header), appended))


def _last_sequence(header: Header) -> int:
    return (header.base_sequence + header.last_offset_delta) % _SEQUENCES
