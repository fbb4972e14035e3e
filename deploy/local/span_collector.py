"""An OpenTelemetry collector that remembers what it was told, over OTLP/HTTP."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deploy.local.posts import posted


class Seen(NamedTuple):
    """A span. service: that told it. attributes: as text."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, str]


class Collector:
    """endpoint: for OTEL_EXPORTER_OTLP_ENDPOINT; what it is told is in `spans`."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Seen] = []

    def take(self, raw: bytes, asked: BaseHTTPRequestHandler) -> None:
        is_packed = asked.headers.get("Content-Encoding") == "gzip"
        self.spans += _seen(ExportTraceServiceRequest.FromString(gzip.decompress(raw) if is_packed else raw))

    def by_trace(self) -> dict[str, set[str]]:
        """Who told of each trace."""
        found: dict[str, set[str]] = {}
        for span in list(self.spans):
            found.setdefault(span.trace_id, set()).add(span.service)
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Until the block ends."""
    collector = Collector()
    with posted(collector.take) as collector.endpoint:
        yield collector


def _seen(said: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in said.resource_spans:
        service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            attributes = {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes}
            yield Seen(
                service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                span.start_time_unix_nano, span.end_time_unix_nano, attributes,
            )  # fmt: skip
