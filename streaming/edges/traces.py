"""Records that were dealt with, as spans of the traces that they belong to."""

import time
from collections.abc import Iterable

from fraud_assets.tracing import Kind, Parent, Span, Spans
from streaming.core.records import Record


def tell(spans: Spans, records: Iterable[Record], began_ns: int) -> None:
    """One for each record whose trace is told of: from its batch's first step to its last."""
    ended_ns = time.time_ns()
    for record in records:
        parent = Parent.of(record.headers)
        if parent is None or not parent.is_sampled:
            continue
        said: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
        }
        spans.add(
            Span(
                f"process {record.topic}", Kind.CONSUMER, parent.trace_id, "", parent.span_id, began_ns, ended_ns, said
            )
        )
