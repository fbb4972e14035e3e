"""Spans for an OpenTelemetry collector, where somebody asks for them; elsewhere nothing of it is loaded.

A trace travels as W3C's `traceparent`, in a request's headers and in a record's.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Self

from fraud_assets.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

HEADER = "traceparent"
_FORM = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 0x01
# A process that stops waits no longer than this for a collector that does not answer.
EXPORT_WITHIN_S = 3.0


class Kind(StrEnum):
    """What a span does, by OpenTelemetry's names."""

    SERVER = "SERVER"
    CONSUMER = "CONSUMER"


class Parent(NamedTuple):
    """A span that others hang from."""

    trace_id: str
    span_id: str
    is_sampled: bool

    @classmethod
    def of(cls, headers: Sequence[tuple[str, bytes | None]]) -> Self | None:
        """That of a record; None where it has none."""
        given = next((value for name, value in headers if name == HEADER and value is not None), b"")
        found = _FORM.fullmatch(given)
        return cls(found[1].decode(), found[2].decode(), bool(int(found[3], 16) & _SAMPLED)) if found else None


class Span(NamedTuple):
    """A piece of work, done. span_id: empty for a new one. parent_id: empty for the first of its trace."""

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, str | int]
    has_failed: bool = False


class Spans:
    """Sends spans over OTLP, in batches, from a thread of its own. A collector that is away costs spans and nothing else.

    share: of the traces that begin here which are kept; of others their sender decides.
    """

    def __init__(self, service: str, endpoint: str, share: float) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_WITHIN_S)
        self._processor = BatchSpanProcessor(exporter)
        self._resource = Resource.create({"service.name": service})
        self._ids = RandomIdGenerator()
        self._bound = TraceIdRatioBased(share).bound

    def keeps(self, trace_id: str) -> bool:
        """Whether a trace that begins here is told of: by its id, so that all processes agree."""
        return int(trace_id[16:], 16) < self._bound

    def add(self, span: Span) -> None:
        """Of a sampled trace. Never waits."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind, Status, StatusCode

        made = ReadableSpan(
            span.name,
            context=_context(
                span.trace_id, int(span.span_id, 16) if span.span_id else self._ids.generate_span_id(), is_remote=False
            ),
            parent=_context(span.trace_id, int(span.parent_id, 16), is_remote=True) if span.parent_id else None,
            resource=self._resource,
            attributes=span.attributes,
            kind=SpanKind[span.kind],
            status=Status(StatusCode.ERROR if span.has_failed else StatusCode.UNSET),
            start_time=span.began_ns,
            end_time=span.ended_ns,
        )
        self._processor.on_end(made)

    def close(self) -> None:
        """Send what there is; a collector that does not answer is waited for some seconds."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def _context(trace_id: str, span_id: int, *, is_remote: bool) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(int(trace_id, 16), span_id, is_remote=is_remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def spans_of(settings: Settings, service: str) -> Spans | None:
    """None where nobody asks for any."""
    endpoint = settings.traces_endpoint
    return Spans(service, endpoint, settings.traces_share) if endpoint else None
