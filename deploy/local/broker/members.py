"""A member of a consumer group, and what it gets from joining and syncing."""

import asyncio
from dataclasses import dataclass, field
from typing import NamedTuple

from kio.schema.errors import ErrorCode


class Joined(NamedTuple):
    """Answer to a join. members: (id, instance id, subscription), for the leader only, who assigns."""

    code: ErrorCode
    member_id: str
    generation: int = -1
    protocol: str = ""
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()


class Synced(NamedTuple):
    code: ErrorCode
    assignment: bytes = b""


class Join(NamedTuple):
    """A join request. member_id is empty the first time; instance_id is what makes a member static."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    session_timeout_s: float
    rebalance_timeout_s: float
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]


@dataclass
class Member:
    """`joining` and `syncing` hold the answers this member is waiting for."""

    id: str
    request: Join
    last_seen_s: float
    assignment: bytes = b""
    joining: asyncio.Future[Joined] | None = field(default=None, repr=False)
    syncing: asyncio.Future[Synced] | None = field(default=None, repr=False)

    @property
    def is_waiting(self) -> bool:
        return self.joining is not None or self.syncing is not None

    def subscription(self, protocol: str) -> bytes:
        return dict(self.request.protocols).get(protocol, b"")

    def answer_join(self, joined: Joined) -> None:
        waiting, self.joining = self.joining, None
        if waiting is not None and not waiting.done():
            waiting.set_result(joined)

    def answer_sync(self, synced: Synced) -> None:
        waiting, self.syncing = self.syncing, None
        if waiting is not None and not waiting.done():
            waiting.set_result(synced)
