"""The decision: read states, make the vector, score, apply the policy. What it cost and what it saw is logged later."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from api.contract import Answer, Scored
from api.errors import NotReady
from api.histories import Histories, HistoryReader, Known
from api.judge import Judged, Lineup, Payments, Serving
from api.lineup import LineupSlot
from api.metrics import Metrics
from api.together import Together
from fraud_assets.contracts.events import CONTRACT_VERSION, Category, PaymentMethod, Tier
from fraud_assets.engine.request import STATUS_NAMES, Read, RequestReader
from fraud_assets.policy.policy import Action, Verdict
from fraud_assets.stores.online_async import OnlineReader
from fraud_assets.stores.online_port import ABSENT

# Transactions read in one round trip: a batch of a thousand in one go would hold the store, and the
# event loop, for longer than a single request may wait.
READ_TOGETHER = 32
# Twice as long as those of a moment take on a busy machine. With a store that hangs a payment's decision is that much later.
PATIENCE_S = 0.005

# A payment of nobody: it is read without states and decides nothing.
WARM_UP: Any = Scored(
    schema_version=CONTRACT_VERSION, event_time_ms=0, transaction_id="-", account_id="-", event_id="-", promoter_id="-",
    device_id="-", ip_token="-", ip_country="ZZ", card_token=None, email_token=None,  # noqa: S106  # tokens, no passwords
    payment_method=PaymentMethod.CARD, amount_minor=0, currency="XXX", ticket_count=1, tier=Tier.STANDARD,
    category=Category.OTHER, billing_country="ZZ", lat_e6=None, lon_e6=None, user_agent="",
)  # fmt: skip

BAD_STATE = "online_state_unreadable"
PRESENT = STATUS_NAMES.index("PRESENT")

IDS_AT_ONCE = 64
_UUID_BYTES = 16


class Seen(NamedTuple):
    """What a decision was made from. keys: entity key of each group, None where the event names none.

    positions, versions: of each group's state, nothing and ABSENT for an unknown entity.
    """

    keys: list[str | None]
    positions: list[bytes]
    versions: list[int]
    epoch: str
    degraded: list[str]

    @classmethod
    def of_all(cls, histories: Histories, positions: Sequence[bytes]) -> list[Self]:
        """What the histories of some events say of each. positions: of their states."""
        if histories.degraded:
            return [cls.nothing(keys, *histories.degraded) for keys in histories.keys]
        # The last is what place -1 finds.
        position_at, version_at = [*positions, b""].__getitem__, [*histories.versions, ABSENT].__getitem__
        return [
            cls(keys, list(map(position_at, places)), list(map(version_at, places)), histories.epoch, [])
            for keys, places in zip(histories.keys, histories.places, strict=True)
        ]

    @classmethod
    def nothing(cls, keys: list[str | None], *reasons: str) -> Self:
        return cls(keys, [b""] * len(keys), [ABSENT] * len(keys), "", list(reasons))


class Context(NamedTuple):
    """What all payments of one request have in common. began_s: by `time.perf_counter`. headers: of the events that come of it."""

    began_s: float
    headers: list[tuple[str, bytes]]


# One payment to decide on (`Scored`), and its request's. Without a name, for a batch makes a thousand.
Question = tuple[Any, Context]


class Made(NamedTuple):
    """A decision and all that its record needs. shadow, scored_ms: as Judged has them. vector: float32, NaN for null. status: int8 of each unit.

    latency_ms: since its request was read.
    """

    event: Any
    context: Context
    seen: Seen
    vector: bytes
    status: bytes
    self_included: bool
    score: float
    verdict: Verdict
    serving: Serving
    shadow: dict[str, float]
    scored_ms: dict[str, float]
    decision_id: str
    decided_at_ms: int
    latency_ms: float


class Scorer:
    """Decides on scored events. One per event loop: the reader's scratch memory is shared by its requests.

    Requests of one moment are read and decided together: a busy scorer then pays for one round trip, and for one walk
    through each part's code and data, where it had paid for several.
    record: takes the decisions of a moment before any of them is answered; it neither waits nor raises.
    """

    def __init__(
        self,
        store: OnlineReader,
        reader: RequestReader,
        models: LineupSlot,
        metrics: Metrics,
        record: Callable[[Sequence[Made]], None] = lambda _: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._histories = HistoryReader(store, reader.groups)
        self._reader = reader
        self._nothing: list[bytes | None] = [None] * len(reader.groups)
        self._models = models
        self._metrics = metrics
        self._record = record
        self._together = Together(self._decide, READ_TOGETHER, PATIENCE_S)
        self.now_ms = now_ms
        self._ids = decision_ids()
        self._by_action = [(action, metrics.decisions.labels(action.value)) for action in Action]

    @property
    def unit_names(self) -> tuple[str, ...]:
        """What the statuses of a decision are of, in order."""
        return self._reader.unit_names

    def warm(self) -> None:
        """Compile what reads states and makes vectors, before a request has to wait for it."""
        self._reader.read(self._nothing, WARM_UP, WARM_UP.event_time_ms, WARM_UP.transaction_id)

    async def decide(self, asked: Sequence[Question]) -> list[Made]:
        """One decision for each payment, in order. Raises NotReady while there is no model.

        A store that is slow, gone or without an epoch costs the decision its history, never its answer.
        """
        return await (self._together.ask(asked) if len(asked) <= READ_TOGETHER else self._decide(asked))

    async def _decide(self, asked: Sequence[Question]) -> list[Made]:
        """Of any size: what is read next is on its way while these are decided."""
        lineup = self._models.lineup
        if lineup is None:
            raise NotReady("no model is loaded yet; train one and publish it as champion")
        if len(asked) <= READ_TOGETHER:
            return self._made(asked, await self._read(asked), lineup)
        made, known = list[Made](), Known()
        parts = [asked[first : first + READ_TOGETHER] for first in range(0, len(asked), READ_TOGETHER)]
        async with asyncio.TaskGroup() as group:
            coming = group.create_task(self._read(parts[0], known))
            for part, after in zip(parts, [*parts[1:], None], strict=True):
                histories = await coming
                if after is not None:
                    coming = group.create_task(self._read(after, known))
                    await asyncio.sleep(0)  # its question goes out before we are busy
                made += self._made(part, histories, lineup)
        return made

    async def _read(self, asked: Sequence[Question], known: Known | None = None) -> Histories:
        return await self._histories.read([event for event, _ in asked], known)

    def _made(self, asked: Sequence[Question], histories: Histories, lineup: Lineup) -> list[Made]:
        """Vectors, scores and actions of payments whose histories are here, recorded."""
        events = [event for event, _ in asked]
        times, ids = [event.event_time_ms for event in events], [event.transaction_id for event in events]
        read = self._reader.read_many(histories.states, histories.places, events, times, ids)
        seen = Seen.of_all(histories, read.positions)
        for place in read.torn:
            seen[place] = self._without(histories.keys[place], events[place], place, read)
        payments = Payments(
            [event.account_id for event in events], [event.amount_minor for event in events], [bool(one.degraded) for one in seen]
        )  # fmt: skip
        judged = lineup.judged(payments, read.features, self._metrics.challenger_failures.inc)
        made = self._decided(asked, seen, read, judged)
        self._count([one.verdict.action for one in made])
        self._record(made)
        return made

    def _without(self, keys: list[str | None], event: Any, place: int, read: Read) -> Seen:
        """A state that cannot be read costs its decision the history, and is counted; it is a defect."""
        served = self._reader.read(self._nothing, event, event.event_time_ms, event.transaction_id)
        read.features[place], read.status[place], read.self_included[place] = served.features, served.status, False
        return Seen.nothing(keys, BAD_STATE)

    def _count(self, actions: list[Action]) -> None:
        for action, counter in self._by_action:
            if n := actions.count(action):
                counter.inc(n)

    def _decided(
        self, asked: Sequence[Question], seen: Sequence[Seen], read: Read, judged: Sequence[Judged]
    ) -> list[Made]:
        """All of one moment, for none is answered before the last is decided."""
        at_ms, at_s = self.now_ms(), time.perf_counter()
        together = zip(
            asked, seen, _rows(read.features), _rows(read.status), read.self_included, judged, self._ids, strict=False
        )
        return [
            Made(
                event, context, its, vector, status, included, score, verdict, serving, shadow, scored_ms, decision_id, at_ms,
                round((at_s - context.began_s) * 1_000, 3),
            )
            for (event, context), its, vector, status, included, (score, verdict, serving, shadow, scored_ms), decision_id in together
        ]  # fmt: skip


def _rows(matrix: npt.NDArray[Any]) -> list[bytes]:
    """The bytes of each row: an array of each would take longer to make than they."""
    raw = matrix.tobytes()
    if len(matrix) == 1:
        return [raw]
    width = len(raw) // len(matrix)
    return [raw[at : at + width] for at in range(0, len(raw), width)]


def decision_ids() -> Iterator[str]:
    """Random UUIDs (version 4) as hex digits. `uuid` asks the kernel for each, and makes an object of it."""
    while True:
        raw = np.frombuffer(bytearray(os.urandom(_UUID_BYTES * IDS_AT_ONCE)), np.uint8).reshape(-1, _UUID_BYTES)
        raw[:, 6] = raw[:, 6] & 0x0F | 0x40  # RFC 9562: its version,
        raw[:, 8] = raw[:, 8] & 0x3F | 0x80  # and its variant
        digits = raw.tobytes().hex()
        for at in range(0, len(digits), 2 * _UUID_BYTES):
            yield digits[at : at + 2 * _UUID_BYTES]


def answer(made: Made, unit_names: Sequence[str]) -> Answer:
    """What the client gets. unit_names: of `made.status`, in order."""
    degraded = made.seen.degraded
    return Answer(
        transaction_id=made.event.transaction_id,
        decision_id=made.decision_id,
        fraud_score=made.score,
        is_fraud=made.verdict.is_fraud,
        decision=made.verdict.action,
        reason_codes=made.verdict.reasons,
        model_version=made.serving.model.version,
        policy_version=made.serving.decider.version,
        degraded_reasons=degraded,
        missing_views=_missing(unit_names, made.status) if degraded else [],
        latency_ms=made.latency_ms,
    )


def _missing(unit_names: Sequence[str], status: bytes) -> list[str]:
    return [name for name, code in zip(unit_names, status, strict=True) if code != PRESENT]
