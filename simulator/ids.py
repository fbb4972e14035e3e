"""Identifiers as columns: thousands of strings at once, unique, and silent about their order.

An id that counted upward would tell a model how old its bearer is, so everything but account and
event numbers passes through a bijective mixer first.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_BYTE_TO_HEX = np.stack([np.repeat(_HEX, 16), np.tile(_HEX, 16)], axis=1)


def mixed(number: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """splitmix64's finalizer: a bijection of 64-bit integers, so distinct in is distinct out."""
    value = number + np.uint64(key * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)), dtype=np.uint64)


def hex_ids(prefix: str, number: npt.NDArray[np.uint64], key: int) -> pa.StringArray:
    """`<prefix><16 hex digits>` for each number, built as bytes without a Python loop.

    One of digits alone would be as long as a card number, and some would pass for one: its last digit is a letter.
    """
    n = len(number)
    digits = _BYTE_TO_HEX[mixed(number, key).astype(">u8").view(np.uint8)].reshape(n, 16)
    digits[(digits <= ord("9")).all(axis=1), -1] = ord("a")
    head = np.frombuffer(prefix.encode(), dtype=np.uint8)
    text = np.empty((n, len(head) + 16), dtype=np.uint8)
    text[:, : len(head)] = head
    text[:, len(head) :] = digits
    return fixed_width_strings(text)


def fixed_width_strings(text: npt.NDArray[np.uint8]) -> pa.StringArray:
    """(n, width) ASCII bytes as an Arrow string column that shares their memory."""
    n, width = text.shape
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(width)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))]
    return pa.StringArray.from_buffers(n, buffers[1], buffers[2])


def numbered(prefix: str, n: int) -> pa.StringArray:
    """`acct_000000` … in order, for the few ids that people read aloud."""
    return pa.array([f"{prefix}{i:06d}" for i in range(n)], type=pa.string())


def numbers_from(first: int, n: int) -> npt.NDArray[np.uint64]:
    return np.arange(n, dtype=np.uint64) + np.uint64(first)


def row_numbers(block: int, n: int) -> npt.NDArray[np.uint64]:
    """Numbers of one block (a day, a live run) that no other block shares."""
    return np.arange(n, dtype=np.uint64) + np.uint64(block << 40)
