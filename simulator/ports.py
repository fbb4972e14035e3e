"""What a live run needs of the platform: somebody who decides, and somewhere to publish."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Event, Label
from fraud_assets.contracts.topics import Topic
from simulator.http_client import HttpClient, HttpFailure

AT_ONCE = 100  # labels of one request; the scorer takes no larger batches


class Verdict(msgspec.Struct, frozen=True):
    """One answer of the scorer. Fields of its answer that a simulator has no use for are ignored."""

    transaction_id: str
    fraud_score: float
    decision: str
    reason_codes: list[str] = []
    degraded_reasons: list[str] = []


class NoVerdict(Exception):
    """The scorer gave none; `reason` is one word for counting."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Scorer(Protocol):
    """Decides on a scoring request."""

    async def decide(self, request: dict[str, object]) -> Verdict:
        """Raises NoVerdict."""


class Source(Protocol):
    """Where the world's events go."""

    def publish(self, topic: Topic, event: Event) -> None:
        """Hand over an event; delivery is confirmed later."""

    def poll(self) -> None:
        """Let confirmations in."""

    def close(self) -> None:
        """Wait for what is under way."""

    @property
    def published(self) -> dict[str, int]:
        """Confirmed deliveries by topic."""

    @property
    def failed(self) -> int:
        """Deliveries that failed for good."""


class _Answer(msgspec.Struct, frozen=True):
    decisions: list[Verdict]


@dataclass(frozen=True)
class ApiScorer:
    """`POST /predict`, one transaction a request, as a shop would."""

    client: HttpClient
    path: str = "/predict"

    async def decide(self, request: dict[str, object]) -> Verdict:
        """Raises NoVerdict if the API refuses, fails, is slow or answers something else."""
        body = msgspec.json.encode({"transactions": [request]})
        try:
            answer = msgspec.json.decode(await self.client.post(self.path, body), type=_Answer)
        except HttpFailure as failure:
            raise NoVerdict(failure.reason) from None
        except msgspec.MsgspecError:
            raise NoVerdict("bad_answer") from None
        if len(answer.decisions) != 1 or answer.decisions[0].transaction_id != request["transaction_id"]:
            raise NoVerdict("wrong_transaction")
        return answer.decisions[0]


@dataclass
class ApiLabels:
    """`POST /labels`, what is known by now in one request, as a case system would. A batch that is refused is sent again."""

    client: HttpClient
    path: str = "/labels"
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=Counter)
    _waiting: list[Label] = field(default_factory=list)

    def say(self, label: Label) -> None:
        self._waiting.append(label)

    async def send(self) -> None:
        """All that waits, AT_ONCE in one request."""
        batch = self._waiting[:AT_ONCE]
        if not batch:
            return
        try:
            await self.client.post(self.path, msgspec.json.encode({"labels": batch}))
        except HttpFailure as failure:
            self.refused[failure.reason] += 1
            return
        self.accepted += len(batch)
        del self._waiting[: len(batch)]


class NoScorer:
    """Nobody decides: `--target kafka` alone."""

    async def decide(self, request: dict[str, object]) -> Verdict:
        """Always raises NoVerdict."""
        del request
        raise NoVerdict("not_asked")


class NoSource:
    """Nothing is published: `--target api` alone. Events are still checked against their contracts."""

    def __init__(self) -> None:
        self.published: dict[str, int] = {}
        self.failed = 0

    def publish(self, topic: Topic, event: Event) -> None:
        """Encode and forget."""
        del topic
        encode(event)

    def poll(self) -> None:
        """Nothing to let in."""

    def close(self) -> None:
        """Nothing is under way."""
