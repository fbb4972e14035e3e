"""What came of a run: one row per purchase, and the run as a whole."""

from pathlib import Path

import msgspec

from simulator.scenarios.tolerances import Tolerance

# Decisions of the platform, and the two ways to get none.
APPROVE, REVIEW, DENY = "approve", "review", "deny"
NO_DECISION = "none"
NOT_SENT = "not_sent"


class PurchaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """One purchase: what it was, what the platform said, how long that took.

    latency_ms: from handing over the request to its answer. lag_ms: how late the driver itself
    was. decision: approve, review or deny; `none` with an `error`; `not_sent` when the driver shed it.
    attacks: it is one of the scenario's own campaigns, and not of the everyday fraud. amount_usd: at the world's own rates.
    """

    transaction_id: str
    account_id: str
    event_time_ms: int
    offset_s: float
    amount_minor: int
    currency: str
    is_fraud: bool
    campaign: str | None
    kind: str | None
    persona: str
    attacks: bool = False
    amount_usd: float = 0.0
    decision: str
    outcome: str
    score: float | None = None
    reason_codes: list[str] = []
    degraded_reasons: list[str] = []
    latency_ms: float | None = None
    lag_ms: float = 0.0
    error: str | None = None

    @property
    def was_decided(self) -> bool:
        """The platform answered."""
        return self.decision not in (NO_DECISION, NOT_SENT)

    @property
    def flagged(self) -> bool:
        """The platform stopped it or had somebody look."""
        return self.decision in (REVIEW, DENY)


class AttackBand(msgspec.Struct, frozen=True, kw_only=True):
    """When a campaign of the scenario was at work, seconds into the run."""

    name: str
    kind: str
    start_s: float
    end_s: float


class OutageBand(msgspec.Struct, frozen=True, kw_only=True):
    """When a dependency was slow, hung or refused, seconds into the run."""

    dependency: str
    fault: str
    start_s: float
    end_s: float


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """An adversary's change of ways. camouflage: of the new one, 0 loud to 1 careful."""

    at_s: float
    camouflage: float
    why: str


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `rate_per_s` was asked for; what was achieved is in the metrics. realtime: it is the mean of a day, and people came at their
    own hours. tolerances: of the scenario.
    """

    scenario: str
    summary: str
    seed: int
    rate_per_s: float
    duration_s: float
    elapsed_s: float
    started_ms: int
    targets: list[str]
    bands: list[AttackBand]
    purchases: list[PurchaseResult]
    published: dict[str, int]
    delivery_failures: int
    in_flight_peak: int
    outages: list[OutageBand] = []
    moves: list[Move] = []
    tolerances: list[Tolerance] = []
    realtime: bool = False


def write_jsonl(result: RunResult, path: Path) -> None:
    """One JSON object per purchase, in the order they were due."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in result.purchases))


def read_jsonl(path: Path) -> list[PurchaseResult]:
    """What `write_jsonl` wrote."""
    return [msgspec.json.decode(line, type=PurchaseResult) for line in path.read_bytes().splitlines()]


def write_result(result: RunResult, path: Path) -> None:
    """The whole run as one JSON document, from which figures and page can be made again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(result))


def read_result(path: Path) -> RunResult:
    """What `write_result` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=RunResult)
