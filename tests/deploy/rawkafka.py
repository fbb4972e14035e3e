"""A client that says exactly what it is told to, which librdkafka never would.

Batches are built here by hand, so that the broker's reading of them is checked against a second writing.
"""

import datetime as dt
import io
import socket
import struct
import time
from importlib import import_module
from typing import Any

from crc32c import crc32c
from kio.schema.produce.v8 import request as rq
from kio.schema.types import TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import Records, i32

PATIENCE_S = 30.0


def varint(value: int) -> bytes:
    """Zig-zag variable-length integer, as records use it."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def record(value: bytes, offset_delta: int) -> bytes:
    body = b"\0" + varint(0) + varint(offset_delta) + varint(-1) + varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


def batch(
    values: list[bytes], producer_id: int = -1, epoch: int = -1, sequence: int = -1, attributes: int = 0
) -> bytes:
    """A v2 record batch, uncompressed, of this moment: a topic drops records that are older than it keeps any."""
    now_ms = time.time_ns() // 1_000_000
    records = b"".join(record(value, delta) for delta, value in enumerate(values))
    counted = struct.pack(
        ">hiqqqhii", attributes, len(values) - 1, now_ms, now_ms, producer_id, epoch, sequence, len(values)
    )
    checksummed = counted + records
    rest = struct.pack(">ibI", 0, 2, crc32c(checksummed)) + checksummed
    return struct.pack(">qi", 0, len(rest)) + rest


class RawKafka:
    def __init__(self, bootstrap_servers: str) -> None:
        host, _, port = bootstrap_servers.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)

    def __enter__(self) -> "RawKafka":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, api: str, version: int, **fields: Any) -> Any:
        """One request by kio's name of its API; its response."""
        schema = import_module(f"kio.schema.{api}.v{version}.request")
        answer = import_module(f"kio.schema.{api}.v{version}.response")
        stem = "".join(word.capitalize() for word in api.split("_"))
        request = getattr(schema, f"{stem}Request")
        self.send_frame(_encoded(request, fields))
        return _decoded(getattr(answer, f"{stem}Response"), self.receive_frame())

    def send_frame(self, frame: bytes) -> None:
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive_frame(self) -> bytes:
        """Raises ConnectionError when the broker has hung up."""
        (length,) = struct.unpack(">i", self._receive(4))
        return self._receive(length)

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            part = self.socket.recv(count - len(received))
            if not part:
                raise ConnectionError("the broker closed the connection")
            received += part
        return received

    def produce(self, topic: str, records: bytes, partition: int = 0) -> Any:
        """The partition's part of the response."""
        data = rq.PartitionProduceData(index=i32(partition), records=Records(records))
        response = self.ask(
            "produce",
            8,
            transactional_id=None,
            acks=-1,
            timeout=dt.timedelta(seconds=10),
            topic_data=(rq.TopicProduceData(name=TopicName(topic), partition_data=(data,)),),
        )
        return response.responses[0].partition_responses[0]

    def producer_id(self) -> tuple[int, int]:
        """(id, epoch) of a fresh idempotent producer."""
        response = self.ask("init_producer_id", 4, transactional_id=None, transaction_timeout=dt.timedelta(seconds=60))
        return response.producer_id, response.producer_epoch


def _encoded(request: Any, fields: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    header = request.__header_schema__(
        request_api_key=request.__api_key__,
        request_api_version=request.__version__,
        correlation_id=7,
        client_id="raw",
    )
    entity_writer(request.__header_schema__)(out, header)
    entity_writer(request)(out, request(**fields))
    return out.getvalue()


def _decoded(response: Any, frame: bytes) -> Any:
    header, size = entity_reader(response.__header_schema__)(frame, 0)
    assert header.correlation_id == 7
    return entity_reader(response)(frame, size)[0]
