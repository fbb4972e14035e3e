"""Bytes for the scorer's socket: requests that are right but for one thing, and bytes that are no request at all.

Everything comes out of one seeded generator, so a number names a message for ever.
"""

import json
import random
from collections.abc import Callable
from typing import NamedTuple

from tests.api.world import request

Rng = random.Random

THEN_MS = 1_790_000_000_000  # no clock: the same number is the same message tomorrow


class Message(NamedTuple):
    """kind: which generator made it. cut: the client resets the connection and waits for no answer."""

    kind: str
    raw: bytes
    cut: bool = False


def message(seed: int, number: int, credential: str) -> Message:
    """The message of this number."""
    rng = Rng(f"{seed}/{number}")
    made = rng.choice(_KINDS)
    raw = made(rng, f"Bearer {credential}".encode())
    return Message(made.__name__.lstrip("_"), raw, cut=rng.random() < 0.1)


def _head(rng: Rng, auth: bytes, *headers: bytes, line: bytes = b"") -> bytes:
    target = rng.choice((b"/predict", b"/predict", b"/labels"))
    first = line or b"POST " + target + b" HTTP/1.1"
    usual = (b"Host: h", b"Authorization: " + auth, b"Content-Type: application/json")
    return b"\r\n".join((first, *usual, *headers)) + b"\r\n\r\n"


def _sent(rng: Rng, auth: bytes, body: bytes) -> bytes:
    return _head(rng, auth, b"Content-Length: %d" % len(body)) + body


def _good(rng: Rng) -> bytes:
    one = request(event_time_ms=THEN_MS, transaction_id=f"t{rng.random()}", amount_minor=rng.randrange(10**6))
    label = {"label_id": "l", "transaction_id": "t", "account_id": "a", "event_time_ms": 1, "is_fraud": True}
    whole = rng.choice(
        (one, {"transactions": [one] * rng.randrange(1, 4)}, {"labels": [label | {"source": "operator"}]})
    )
    return json.dumps(whole).encode()


def _odd_bytes(rng: Rng, most: int) -> bytes:
    return bytes(rng.choice(b'\0\r\n"\\{}[]:,\x80\xff\xc0\xed\xa0ab01') for _ in range(rng.randrange(1, most)))


def _garbage(rng: Rng, auth: bytes) -> bytes:
    return rng.choice((rng.randbytes(rng.randrange(1, 400)), _odd_bytes(rng, 200), b"\x16\x03\x01\x02\x00\x01\x00"))


def _flipped(rng: Rng, auth: bytes) -> bytes:
    """A good request with a few bytes replaced, anywhere in it."""
    raw = bytearray(_sent(rng, auth, _good(rng)))
    for _ in range(rng.randrange(1, 6)):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)


def _torn_body(rng: Rng, auth: bytes) -> bytes:
    """Bytes that are no text, put in, taken out or cut off, under the length that they have."""
    good = _good(rng)
    at, end = sorted(rng.randrange(len(good)) for _ in range(2))
    torn = rng.choice((good[:at], good[:at] + _odd_bytes(rng, 12) + good[at:], good[:at] + good[end:], good + good))
    return _sent(rng, auth, torn)


def _deep(rng: Rng, auth: bytes) -> bytes:
    depth = rng.choice((10, 100, 1_000, 7_000, 100_000))
    opened = rng.choice((b"[", b'{"a":', b'{"transactions":[', b'{"labels":[', b'{"transactions":' + b"["))
    closed = rng.choice((b"", b"]" * depth, b"}" * depth))
    return _sent(rng, auth, opened * depth + closed)


def _numbers(rng: Rng, auth: bytes) -> bytes:
    """A number as no int64 and no double has it, in the place of one that is right."""
    odd = (
        "9" * rng.choice((19, 20, 400, 5_000)), "-1", "1e999", "-1e-999", "1e19", "NaN", "Infinity", "-0", "-0.0", "01",
        "0x10", "1" + "0" * 308 + ".5", "1.0", "9223372036854775808", "18446744073709551616", "+1", ".5", "5.", "1e", "--1",
    )  # fmt: skip
    body = _good(rng).decode()
    names = [name for name in ("amount_minor", "event_time_ms", "ticket_count") if f'"{name}": ' in body]
    name = rng.choice(names or ["event_time_ms"])
    before, _, rest = body.partition(f'"{name}": ')
    after = rest[len(rest) - len(rest.lstrip("-0123456789")) :]
    return _sent(rng, auth, f'{before}"{name}": {rng.choice(odd)}{after}'.encode())


def _texts(rng: Rng, auth: bytes) -> bytes:
    """A text of another kind in the place of each of a payment's."""
    odd = (
        "\\ud800", "\\udfff\\ud800", "\\u0000", "\\uFFFF", "\\x41", "\u202e", "e\u0301" * 64, "\U0001f3ab" * 128,
        "x" * 129, "", "' OR 1=1 --", "%00", "../../etc/passwd", "{{7*7}}", "${jndi:ldap://h/a}",
    )  # fmt: skip
    body = json.dumps(request(event_time_ms=THEN_MS, **dict.fromkeys(rng.sample(_TEXTS, rng.randrange(1, 4)), "@@")))
    return _sent(rng, auth, body.replace('"@@"', f'"{rng.choice(odd)}"').encode())


_TEXTS = [name for name, value in request().items() if isinstance(value, str)]


def _lengths(rng: Rng, auth: bytes) -> bytes:
    """A length that is not the body's, no number, given twice, or beside chunks."""
    body = _good(rng)
    n = len(body)
    odd = (
        n - 1, n + 1, 0, -1, 2**31, 2**63, 2**64, 10**30, f"+{n}", f"0x{n:x}", f"{n}, {n}", f" {n}", f"{n} ", f"{n}.0",
        "", "x", f"0{n}", f"{n}\r\nContent-Length: {n - 1}", f"{n}\r\nTransfer-Encoding: chunked", f"{n}\0", f"{n}\t{n}",
    )  # fmt: skip
    return _head(rng, auth, f"Content-Length: {rng.choice(odd)}".encode()) + body


def _chunks(rng: Rng, auth: bytes) -> bytes:
    """Chunked, but for a size, an end, a trailer or the word itself."""
    body = _good(rng)
    cut = rng.randrange(len(body))
    size = rng.choice(
        (b"%x" % cut, b"%X;a=b" % cut, b"0%x" % cut, b"-1", b"", b"g", b"f" * 17, b"0x%x" % cut, b"%x" % (cut + 1))
    )
    end = rng.choice(
        (b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"", b"0\r\n", b"0\r\nContent-Length: 3\r\n\r\n", b"00000\n\n")
    )
    word = rng.choice((b"chunked", b"Chunked", b"gzip, chunked", b"chunked, gzip", b"xchunked", b"chunked, chunked"))
    eol = rng.choice((b"\r\n", b"\r\n", b"\n"))
    sent = size + eol + body[:cut] + eol + b"%x\r\n" % (len(body) - cut) + body[cut:] + b"\r\n" + end
    return _head(rng, auth, b"Transfer-Encoding: " + word) + sent


def _headers(rng: Rng, auth: bytes) -> bytes:
    """Headers that are too many, too long, folded, doubled, nameless or not ASCII."""
    odd = (
        (b"A: " + b"a" * rng.choice((1_000, 70_000)),), tuple(b"H%d: v" % n for n in range(rng.choice((50, 5_000)))),
        (b"X: a", b" folded"), (b": nameless",), (b"No colon",), (b"A\0: b",), (b"A: \0\xff\x80",), (b"A : b",),
        (b"Authorization: Bearer x.y",), (b"Host: a", b"Host: b"), (b"Idempotency-Key: " + _odd_bytes(rng, 200),),
        (b"Idempotency-Key: a", b"Idempotency-Key: b"), (b"traceparent: " + _odd_bytes(rng, 60),), (b"Expect: 100-continue",),
        (b"traceparent: 00-" + b"f" * 32 + b"-" + b"0" * 16 + b"-01",), (b"Content-Encoding: gzip",), (b"Expect: magic",),
        (b"Content-Type: " + _odd_bytes(rng, 30),), (b"Connection: " + _odd_bytes(rng, 12),), (b"Cookie: " + _odd_bytes(rng, 99),),
    )  # fmt: skip
    body = _good(rng)
    return _head(rng, auth, *rng.choice(odd), b"Content-Length: %d" % len(body)) + body


def _lines(rng: Rng, auth: bytes) -> bytes:
    """Another first line: methods, targets and versions that nobody serves."""
    methods = (
        b"GET",
        b"POST",
        b"PUT",
        b"DELETE",
        b"OPTIONS",
        b"HEAD",
        b"TRACE",
        b"CONNECT",
        b"PRI",
        b"get",
        b"",
        b"\xff",
    )
    targets = (
        b"/predict", b"/labels", b"/metrics", b"/schema", b"/admin/model", b"/admin/reload", b"/health/ready", b"*", b"",
        b"//", b"/%00", b"/%ff%fe", b"/predict/", b"/../predict", b"/predict?" + b"a=" * 9_000, b"/predict?%ff=%", b"/\xff",
        b"http://h/predict", b"http://[::1", b"h:1", b"/predict#x", b"/predict;x", b"/" + b"a" * 70_000, b"/{x}", b"/\0",
    )  # fmt: skip
    versions = (b" HTTP/1.1", b" HTTP/1.0", b" HTTP/0.9", b" HTTP/2.0", b" HTTP/1.2", b"", b" HTTP/1.1 x", b" http/1.1")
    line = rng.choice(methods) + b" " + rng.choice(targets) + rng.choice(versions)
    return _head(rng, auth, line=line)


def _upgrades(rng: Rng, auth: bytes) -> bytes:
    """Another protocol on the same port."""
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    odd = (
        (b"Upgrade: websocket", b"Connection: Upgrade", key, b"Sec-WebSocket-Version: 13"),
        (b"Upgrade: websocket", b"Connection: Upgrade", key, b"Sec-WebSocket-Version: 99"),
        (b"Upgrade: websocket", b"Connection: Upgrade"),
        (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        (b"Upgrade: \xff", b"Connection: Upgrade"),
    )
    target = rng.choice((b"/predict", b"/labels", b"/health/live", b"/nowhere", b"/metrics"))
    prefaces = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(20),)
    return rng.choice((_head(rng, auth, *rng.choice(odd), line=b"GET " + target + b" HTTP/1.1"), *prefaces))


def _pipelined(rng: Rng, auth: bytes) -> bytes:
    """Several requests without waiting, good and bad, the last perhaps cut off."""
    made = [rng.choice((_flipped, _torn_body, _numbers))(rng, auth) for _ in range(rng.randrange(2, 5))]
    whole = b"".join(rng.sample([_sent(rng, auth, _good(rng)), *made], len(made) + 1))
    return whole[: rng.randrange(1, len(whole) + 1)]


def _credentials(rng: Rng, auth: bytes) -> bytes:
    """A credential that is none, and tokens of the wildest kinds."""
    token = auth.partition(b" ")[2]
    odd = (
        b"", b"Bearer", b"Bearer " + _odd_bytes(rng, 80).replace(b"\n", b"").replace(b"\r", b""), b"Basic " + token,
        b"Bearer eyJhbGciOiJub25lIn0.e30.", b"Bearer " + b"." * rng.choice((1, 2, 9_000)), b"Bearer \xff\xfe.\xfd",
        b"Bearer " + token + b"\xe9", b"Bearer " + token[:-1], b"Bearer " + b"a" * 60_000, auth + b", " + auth,
    )  # fmt: skip
    return _sent(rng, rng.choice(odd), _good(rng))


_KINDS: tuple[Callable[[Rng, bytes], bytes], ...] = (
    _garbage, _flipped, _torn_body, _deep, _numbers, _texts, _lengths, _chunks, _headers, _lines, _upgrades, _pipelined,
    _credentials,
)  # fmt: skip
KINDS = frozenset(made.__name__.lstrip("_") for made in _KINDS)
