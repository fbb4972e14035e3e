"""The header of a record batch (Kafka message format v2): read, verify, stamp.

The broker never looks inside a batch: records stay as the producer encoded and compressed them.
It rewrites the three things that are the broker's: base offset, leader epoch, and for
LogAppendTime topics the timestamp.
Source: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
from typing import NamedTuple

from crc32c import crc32c
from kio.schema.errors import ErrorCode

from deploy.local.broker.errors import Refused

_HEADER = struct.Struct(">qiibIhiqqqhii")
_PREFIX = struct.Struct(">qi")
HEADER_BYTES = _HEADER.size
# The length field counts what follows it: everything but base offset (8) and length (4).
_UNCOUNTED_BYTES = _PREFIX.size
_LEADER_EPOCH_AT = 12
_CRC_AT = 17
_CHECKSUMMED_FROM = 21  # attributes to the end; base offset and leader epoch may change without a new CRC
_MAX_TIMESTAMP_AT = 35

_MAGIC = 2
_LOG_APPEND_TIME = 0x08
_TRANSACTIONAL = 0x10
_CONTROL = 0x20


class Header(NamedTuple):
    """The fixed part of a batch. Sequences and producer ids are -1 for a producer that is not idempotent."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        return self.length + _UNCOUNTED_BYTES

    @property
    def append_time_ms(self) -> int | None:
        """The broker's time of a stored batch, None where the producer's timestamps were kept."""
        return self.max_timestamp if self.attributes & _LOG_APPEND_TIME else None

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta


class Appended(NamedTuple):
    """Where and when a batch was stored; no time for topics that keep their producers' timestamps."""

    base_offset: int
    append_time_ms: int | None


def read_header(buffer: bytes | memoryview, at: int = 0) -> Header | None:
    """The header at `at`, or None when the buffer ends inside the batch (a torn tail)."""
    if at + HEADER_BYTES > len(buffer):
        return None
    header = Header._make(_HEADER.unpack_from(buffer, at))
    if header.length < HEADER_BYTES - _UNCOUNTED_BYTES or at + header.size > len(buffer):
        return None
    return header


def is_intact(batch: bytes | memoryview, header: Header) -> bool:
    """Whether the checksum holds; a batch half written before a power cut fails here."""
    return header.magic == _MAGIC and crc32c(batch[_CHECKSUMMED_FROM : header.size]) == header.crc


def parse_produced(batch: bytes, max_bytes: int) -> Header:
    """The header of the one batch a producer sent for a partition.

    Raises Refused for anything that is not exactly one sound, non-transactional v2 batch.
    """
    if len(batch) > max_bytes:
        raise Refused(ErrorCode.message_too_large, f"{len(batch)} bytes; max.message.bytes is {max_bytes}")
    if len(batch) > _CRC_AT and batch[_CRC_AT - 1] != _MAGIC:
        raise Refused(ErrorCode.unsupported_for_message_format, "only record batches of format v2 are stored")
    header = read_header(batch)
    if header is None or not is_intact(batch, header):
        raise Refused(ErrorCode.corrupt_message, "truncated batch or wrong checksum")
    if header.size != len(batch) or not 0 < header.record_count == header.last_offset_delta + 1:
        raise Refused(ErrorCode.invalid_record, "a partition takes exactly one batch, with all its records")
    if header.attributes & (_TRANSACTIONAL | _CONTROL):
        raise Refused(ErrorCode.invalid_txn_state, "this broker has no transactions")
    if header.attributes & _LOG_APPEND_TIME:
        raise Refused(ErrorCode.invalid_timestamp, "only the broker marks a batch as LogAppendTime")
    return header


def stamp(batch: bytes, base_offset: int, append_time_ms: int | None) -> bytes:
    """The batch as it is stored: at its offset and, for LogAppendTime, with the broker's time.

    append_time_ms: becomes the batch's max timestamp, which clients then report for every record
    in it; None leaves the producer's timestamps alone.
    """
    stored = bytearray(batch)
    struct.pack_into(">q", stored, 0, base_offset)
    struct.pack_into(">i", stored, _LEADER_EPOCH_AT, 0)
    if append_time_ms is not None:
        (attributes,) = struct.unpack_from(">h", stored, _CHECKSUMMED_FROM)
        struct.pack_into(">h", stored, _CHECKSUMMED_FROM, attributes | _LOG_APPEND_TIME)
        struct.pack_into(">q", stored, _MAX_TIMESTAMP_AT, append_time_ms)
        struct.pack_into(">I", stored, _CRC_AT, crc32c(memoryview(stored)[_CHECKSUMMED_FROM:]))
    return bytes(stored)
