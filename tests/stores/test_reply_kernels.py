"""Replies are read where they lie, however the socket has cut them, and as a client library reads them."""

import hiredis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.stores.reply_kernels import AT, BROKEN, FOUND, REFUSED, STATE_WORDS, TO_COME, take_replies

STRING = st.none() | st.binary(max_size=40)
REPLY = STRING | st.lists(STRING, max_size=4) | st.integers(-5, 5)


def written(reply: object) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))
        case int():
            return b":%d\r\n" % reply
    raise AssertionError(reply)


def strings_of(replies: list[object]) -> list[bytes | None]:
    flat = [one for reply in replies for one in (reply if isinstance(reply, list) else [reply])]
    return [one for one in flat if one is None or isinstance(one, bytes)]


class Reading:
    def __init__(self, raw: bytes, n_replies: int, most: int) -> None:
        self.raw = np.frombuffer(raw, np.uint8)
        self.state = np.zeros(STATE_WORDS, np.int64)
        self.state[TO_COME] = n_replies
        self.places = np.full((3, most), -1, np.int64)
        self.to_come = n_replies

    def up_to(self, end: int, version_bytes: int = 0) -> "Reading":
        self.to_come = take_replies(self.raw, end, self.state, self.places, version_bytes)
        return self

    def found(self) -> list[bytes | None]:
        pairs = zip(*self.places[:2].tolist(), strict=True)
        return [self.raw[a:b].tobytes() if b else None for a, b in list(pairs)[: self.state[FOUND]]]


@given(st.lists(REPLY, min_size=1, max_size=4), st.lists(st.integers(0, 400), max_size=6))
def test_replies_are_read_as_the_library_reads_them_wherever_they_are_cut(
    replies: list[object], cuts: list[int]
) -> None:
    """And what stands behind them is left."""
    raw = b"".join(map(written, replies))
    library = hiredis.Reader()
    library.feed(raw)
    wanted = strings_of([library.gets() for _ in replies])

    reading = Reading(raw + b"$3\r\nnot", len(replies), len(wanted))
    for cut in sorted(cuts):
        reading.up_to(min(cut, len(raw)))
    reading.up_to(len(raw) + 7)

    assert (reading.found(), reading.to_come, reading.state[AT]) == (wanted, 0, len(raw))
    assert not reading.state[REFUSED]


@given(st.binary(max_size=60))
def test_what_is_no_reply_writes_past_no_room_and_ends(raw: bytes) -> None:
    reading = Reading(raw, 2, 1).up_to(len(raw))

    assert reading.state[FOUND] <= 1 and reading.state[AT] <= len(raw)


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 400\r\n", b"$1x\r\na\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"$99999999999999999999\r\n"]
)
def test_no_redis_and_more_than_was_asked_for_are_broken(raw: bytes) -> None:
    assert Reading(raw, 1, 1).up_to(len(raw)).to_come == BROKEN


def test_a_refusal_is_found_with_the_replies_beside_it() -> None:
    raw = b"-LOADING wait\r\n$1\r\na\r\n"
    reading = Reading(raw, 2, 1).up_to(len(raw))

    assert (reading.found(), reading.to_come) == ([b"a"], 0)
    assert raw[reading.state[REFUSED] :].startswith(b"LOADING")


def test_versions_are_taken_off_all_but_the_last() -> None:
    """Which is the epoch's marker."""
    raw = b"".join(map(written, [[(7).to_bytes(8, "little") + b"state", None, b"\1\2"], b"marker of it"]))
    reading = Reading(raw, 2, 4).up_to(len(raw), version_bytes=8)

    assert reading.places[2].tolist() == [7, 0, 0x0201, 0]
    assert reading.found() == [b"state", None, b"", b"marker of it"]
