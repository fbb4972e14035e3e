"""A webhook that remembers which alerts it was told of."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from deploy.local.posts import posted


class Told(msgspec.Struct, frozen=True):
    """receiver: of Alertmanager's configuration."""

    receiver: str
    alert: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class Receiver:
    """url: to post to; what is posted is in `told`."""

    def __init__(self) -> None:
        self.url = ""
        self.told: list[Told] = []

    def take(self, raw: bytes, _: object) -> None:
        said = msgspec.json.decode(raw)
        self.told += [
            Told(said["receiver"], one["labels"]["alertname"], one["status"], one["labels"], one["annotations"])
            for one in said["alerts"]
        ]

    def has(self, alert: str, receiver: str) -> bool:
        return any((one.alert, one.receiver, one.status) == (alert, receiver, "firing") for one in list(self.told))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Until the block ends."""
    receiver = Receiver()
    with posted(receiver.take) as receiver.url:
        yield receiver
