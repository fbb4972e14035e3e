"""Bytes one after the other, each with its length before it: how the spool, the journal and a recorder's socket keep things apart."""

from collections.abc import Iterable

LENGTH_BYTES = 4


def framed(raw: bytes) -> bytes:
    return len(raw).to_bytes(LENGTH_BYTES, "big") + raw


def framed_all(raws: Iterable[bytes]) -> bytes:
    """One behind the other, each copied once."""
    return b"".join([part for raw in raws for part in (len(raw).to_bytes(LENGTH_BYTES, "big"), raw)])


def length_in(head: bytes) -> int:
    return int.from_bytes(head, "big")


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """(whole frames, what is left)."""
    found, at = [], 0
    while len(data) >= at + LENGTH_BYTES:
        begin = at + LENGTH_BYTES
        end = begin + length_in(data[at:begin])
        if len(data) < end:
            break
        found.append(data[begin:end])
        at = end
    return found, data[at:]
