"""The one exception of the broker: a request, or a part of it, is refused with a Kafka error code."""

from kio.schema.errors import ErrorCode


class Refused(Exception):
    """Answer the client with `code`; `reason` goes into the answer where the protocol has room for it."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason
