"""The decision: read states, make the vector, score, apply the policy. What it cost and what it saw is logged later."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from api.contract import Answer, Scored
from api.errors import NotReady
from api.histories import Histories, HistoryReader, Known
from api.judge import Judged, Lineup, Payments
from api.lineup import LineupSlot
from api.metrics import Metrics
from api.together import Together
from fraud_assets.contracts.events import CONTRACT_VERSION, Category, PaymentMethod, Tier
from fraud_assets.engine.request import STATUS_NAMES, Read, RequestReader
from fraud_assets.policy.policy import Action
from fraud_assets.stores.online_async import StateReader

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


class Context(NamedTuple):
    """What all payments of one request have in common. began_s: by `time.perf_counter`. headers: of the events that come of it."""

    began_s: float
    headers: list[tuple[str, bytes]]


# One payment to decide on (`Scored`), and its request's. Without a name, for a batch makes a thousand.
Question = tuple[Any, Context]


class Moment(NamedTuple):
    """The decisions of one moment and all that their records need, in columns: each has an entry for every payment, in order.

    degraded: reasons, none for what was decided with its history. latency_ms: since its request was read.
    """

    asked: Sequence[Question]
    histories: Histories
    read: Read
    degraded: list[list[str]]
    judged: list[Judged]
    decision_ids: list[str]
    decided_at_ms: int
    latency_ms: list[float]


class Scorer:
    """Decides on scored events. One per event loop: the reader's scratch memory is shared by its requests.

    Requests of one moment are read and decided together: a busy scorer then pays for one round trip, and for one walk
    through each part's code and data, where it had paid for several.
    record: takes the decisions of a moment before any of them is answered; it neither waits nor raises.
    """

    def __init__(
        self,
        store: StateReader,
        reader: RequestReader,
        models: LineupSlot,
        metrics: Metrics,
        record: Callable[[Moment], None] = lambda _: None,
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

    async def decide(self, asked: Sequence[Question]) -> list[Answer]:
        """One decision for each payment, in order. Raises NotReady while there is no model.

        A store that is slow, gone or without an epoch costs the decision its history, never its answer.
        """
        return await (self._together.ask(asked) if len(asked) <= READ_TOGETHER else self._decide(asked))

    async def _decide(self, asked: Sequence[Question]) -> list[Answer]:
        """Of any size: what is read next is on its way while these are decided."""
        lineup = self._models.lineup
        if lineup is None:
            raise NotReady("no model is loaded yet; train one and publish it as champion")
        if len(asked) <= READ_TOGETHER:
            return self._made(asked, await self._read(asked), lineup)
        made, known = list[Answer](), Known()
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

    def _made(self, asked: Sequence[Question], histories: Histories, lineup: Lineup) -> list[Answer]:
        """Vectors, scores and actions of payments whose histories are here, recorded."""
        events = [event for event, _ in asked]
        times, ids = [event.event_time_ms for event in events], [event.transaction_id for event in events]
        read = self._reader.read_many(histories.states, histories.places, events, times, ids)
        degraded = [histories.degraded] * len(events)
        for place in read.torn:
            degraded[place] = [BAD_STATE]
            self._without(events[place], place, read)
        payments = Payments(
            [event.account_id for event in events], [event.amount_minor for event in events], list(map(bool, degraded))
        )
        judged = lineup.judged(payments, read.features, self._metrics.challenger_failures.inc)
        at_ms, at_s = self.now_ms(), time.perf_counter()  # of all, for none is answered before the last is decided
        latency_ms = [round((at_s - context.began_s) * 1_000, 3) for _, context in asked]
        moment = Moment(
            asked, histories, read, degraded, judged, list(islice(self._ids, len(events))), at_ms, latency_ms
        )
        self._count([one.verdict.action for one in judged])
        self._record(moment)
        return self._answers(ids, moment)

    def _answers(self, transaction_ids: Sequence[str], moment: Moment) -> list[Answer]:
        """What clients get."""
        made = zip(
            transaction_ids, moment.judged, moment.decision_ids, moment.degraded, moment.latency_ms, moment.read.status, strict=True
        )  # fmt: skip
        return [
            Answer(
                transaction_id=transaction_id,
                decision_id=decision_id,
                fraud_score=score,
                is_fraud=verdict.is_fraud,
                decision=verdict.action,
                reason_codes=verdict.reasons,
                model_version=serving.model.version,
                policy_version=serving.decider.version,
                degraded_reasons=degraded,
                missing_views=_missing(self.unit_names, status) if degraded else [],
                latency_ms=latency_ms,
            )
            for transaction_id, (score, verdict, serving, _, _), decision_id, degraded, latency_ms, status in made
        ]

    def _without(self, event: Any, place: int, read: Read) -> None:
        """A state that cannot be read costs its decision the history, and is counted; it is a defect."""
        served = self._reader.read(self._nothing, event, event.event_time_ms, event.transaction_id)
        read.features[place], read.status[place], read.self_included[place] = served.features, served.status, False

    def _count(self, actions: list[Action]) -> None:
        for action, counter in self._by_action:
            if n := actions.count(action):
                counter.inc(n)


def decision_ids() -> Iterator[str]:
    """Random UUIDs (version 4) as hex digits. `uuid` asks the kernel for each, and makes an object of it."""
    while True:
        raw = np.frombuffer(bytearray(os.urandom(_UUID_BYTES * IDS_AT_ONCE)), np.uint8).reshape(-1, _UUID_BYTES)
        raw[:, 6] = raw[:, 6] & 0x0F | 0x40  # RFC 9562: its version,
        raw[:, 8] = raw[:, 8] & 0x3F | 0x80  # and its variant
        digits = raw.tobytes().hex()
        for at in range(0, len(digits), 2 * _UUID_BYTES):
            yield digits[at : at + 2 * _UUID_BYTES]


def _missing(unit_names: Sequence[str], status: npt.NDArray[np.int8]) -> list[str]:
    return [name for name, code in zip(unit_names, status, strict=True) if code != PRESENT]
