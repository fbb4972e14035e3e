"""W3C trace context: the caller's trace goes on through us, into the log line and the events.

Only `traceparent`, whose form leaves room for digits and nothing else of anybody's. `tracestate` is free text of the sender's, and is not
passed on.
"""

import random
import re

HEADER = b"traceparent"

_FORM = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")


class Trace:
    """One request's place in a trace. trace_id: the caller's, or a new one; the span is ours."""

    __slots__ = ("parent", "trace_id")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        given = [value for name, value in headers if name == HEADER]
        found = _FORM.fullmatch(given[0]) if len(given) == 1 else None
        if found is not None and found[1] == b"00" and found[4] is not None:
            found = None  # version 00 has four parts, later ones may have more
        if found is not None and found[2].isdigit():
            found = None  # chance makes one in three million ids without a letter; whoever pads a card number does
        self.trace_id = found[2].decode() if found else f"{random.getrandbits(128):032x}"
        flags = found[3] if found else b"00"
        self.parent = b"00-%b-%b-%b" % (self.trace_id.encode(), (b"%016x" % random.getrandbits(64)), flags)
