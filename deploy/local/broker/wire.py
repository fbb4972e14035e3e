"""Framing and dispatch: bytes of a connection → typed request → handler → typed response → bytes.

Each API is served in exactly one version, and ApiVersions says so; clients choose from that. A
request that is not in the list cannot be answered in a form its sender would understand, so the
connection is closed at once with a line in the log, which is also what Kafka does: the client
sees a disconnect, never a hang.
"""

import asyncio
import datetime as dt
import io
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from kio.schema.api_versions.v3 import request as versions_rq
from kio.schema.api_versions.v3 import response as versions_rs
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

log = logging.getLogger(__name__)

NO_THROTTLE: Any = dt.timedelta(0)
# Kafka's socket.request.max.bytes. A larger length is not Kafka talking (an HTTP request is 1.2 GB).
MAX_REQUEST_BYTES = 100 * 1024 * 1024
_LENGTH = struct.Struct(">i")
_API = struct.Struct(">hh")
_API_VERSIONS_KEY = 18
# librdkafka decides about whole features (batch format v2, balanced consumers) by looking for old
# versions it no longer sends; Kafka 4 announces Produce from 0 for the same reason (KAFKA-18659).
_ANNOUNCED_SINCE = 0


class Caller(NamedTuple):
    """Who asks, as far as a consumer group wants to know."""

    client_id: str
    host: str


class Endpoint(NamedTuple):
    """One API in one version; key and version are those of its kio schema.

    handle: gives the response, or its bytes where the handler packs them itself; None for no answer.
    """

    request: Any
    response: Any
    handle: Callable[[Any, Caller], Awaitable[Any]]

    @property
    def key(self) -> tuple[int, int]:
        return int(self.request.__api_key__), int(self.request.__version__)


class _Codec:
    """Readers and writers of one endpoint; kio builds them once per type."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._response_header = endpoint.response.__header_schema__
        self._read_header = entity_reader(endpoint.request.__header_schema__)
        self._read_request = entity_reader(endpoint.request)
        self._write_header = entity_writer(self._response_header)
        self._write_response = entity_writer(endpoint.response)

    def decode(self, frame: bytes) -> tuple[Any, Any]:
        header, header_size = self._read_header(frame, 0)
        request, _ = self._read_request(frame, header_size)
        return header, request

    def encode(self, correlation_id: int, response: Any) -> bytes:
        body = io.BytesIO(bytes(_LENGTH.size))
        body.seek(_LENGTH.size)
        self._write_header(body, self._response_header(correlation_id=correlation_id))
        if isinstance(response, bytes):
            body.write(response)
        else:
            self._write_response(body, response)
        frame = body.getbuffer()
        _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size)
        return bytes(frame)


class Protocol:
    """Serves connections from a table of endpoints."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        versions = Endpoint(versions_rq.ApiVersionsRequest, versions_rs.ApiVersionsResponse, self._api_versions)
        self._codecs = {endpoint.key: _Codec(endpoint) for endpoint in (*endpoints, versions)}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request at a time, as the protocol orders answers."""
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = str(writer.get_extra_info("peername")[0])
        try:
            while (answer := await self._answer(await _read_frame(reader), host)) is not None:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        except Exception:
            log.exception("closing a connection from %s: its request could not be answered", host)
        finally:
            writer.close()

    async def _answer(self, frame: bytes, host: str) -> bytes | None:
        """The framed response; empty when the client expects none, None to close the connection."""
        api, version = _API.unpack_from(frame)
        codec = self._codecs.get((api, version))
        if codec is None:
            if api == _API_VERSIONS_KEY:
                return self._unsupported_api_versions(frame)
            log.error("closing a connection from %s: API %d version %d is not served here", host, api, version)
            return None
        header, request = codec.decode(frame)
        response = await codec.endpoint.handle(request, Caller(header.client_id or "", host))
        return b"" if response is None else codec.encode(header.correlation_id, response)

    async def _api_versions(self, _: Any, __: Caller) -> versions_rs.ApiVersionsResponse:
        return versions_rs.ApiVersionsResponse(
            error_code=ErrorCode.none,
            api_keys=tuple(
                versions_rs.ApiVersion(
                    api_key=key,  # type: ignore[arg-type]
                    min_version=_ANNOUNCED_SINCE,  # type: ignore[arg-type]
                    max_version=version,  # type: ignore[arg-type]
                )
                for key, version in sorted(self._codecs)
            ),
            throttle_time=NO_THROTTLE,
        )

    def _unsupported_api_versions(self, frame: bytes) -> bytes:
        """KIP-511: a client that asks in a newer version is told, in version 0, which ones there are."""
        (correlation_id,) = struct.unpack_from(">i", frame, _API.size)
        served = [struct.pack(">hhh", key, _ANNOUNCED_SINCE, version) for key, version in sorted(self._codecs)]
        body = struct.pack(">ihi", correlation_id, ErrorCode.unsupported_version, len(served)) + b"".join(served)
        return _LENGTH.pack(len(body)) + body


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if not _API.size + 4 <= length <= MAX_REQUEST_BYTES:
        raise ValueError(f"a frame of {length} bytes is not a Kafka request")
    return await reader.readexactly(length)
