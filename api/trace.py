"""W3C trace context: the caller's trace goes on through us, into the log line and the events.

Only `traceparent`, whose form leaves room for digits and nothing else of anybody's. `tracestate` is free text of the sender's, and is not
passed on.
"""

import random
import re
from collections.abc import Callable

HEADER = b"traceparent"

_FORM = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace:
    """One request's place in a trace. trace_id: the caller's, or a new one; the span is ours. caller_span: its, if it has one.

    keeps: whether a new trace is told of; by default none is.
    """

    __slots__ = ("caller_span", "parent", "trace_id")

    def __init__(self, headers: list[tuple[bytes, bytes]], keeps: Callable[[str], bool] | None = None) -> None:
        given = [value for name, value in headers if name == HEADER]
        found = _FORM.fullmatch(given[0]) if len(given) == 1 else None
        if found is not None and found[1] == b"00" and found[5] is not None:
            found = None  # version 00 has four parts, later ones may have more
        if found is not None and found[2].isdigit():
            found = None  # chance makes one in three million ids without a letter; whoever pads a card number does
        self.trace_id = found[2].decode() if found else f"{random.getrandbits(128):032x}"
        self.caller_span = found[3].decode() if found else ""
        flags = found[4] if found else b"01" if keeps is not None and keeps(self.trace_id) else b"00"
        self.parent = b"00-%b-%b-%b" % (self.trace_id.encode(), (b"%016x" % random.getrandbits(64)), flags)

    @property
    def span_id(self) -> str:
        return self.parent[36:52].decode()

    @property
    def is_sampled(self) -> bool:
        return bool(int(self.parent[53:], 16) & 0x01)
