"""The decision: read states, make the vector, score, apply the policy. What it cost and what it saw is logged later."""

import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from api.champion import ChampionSlot, Serving
from api.contract import Answer, Scored
from api.errors import NotReady
from api.metrics import Metrics
from fraud_assets.contracts.events import Category, PaymentMethod, Tier
from fraud_assets.engine.prepare import entity_key
from fraud_assets.engine.request import RequestReader, Served
from fraud_assets.engine.state import BadState
from fraud_assets.policy.policy import Action, Verdict
from fraud_assets.stores.online_async import EntityRead, OnlineReader
from fraud_assets.stores.online_port import NoEpoch, StoreUnavailable

# Transactions read in one round trip: a batch of a thousand in one go would hold the store, and the
# event loop, for longer than a single request may wait.
READ_TOGETHER = 32

# A payment of nobody: it is read without states and decides nothing.
WARM_UP: Any = Scored(
    transaction_id="-", event_time_ms=0, account_id="-", event_id="-", promoter_id="-", device_id="-",
    ip_token="-", ip_country="ZZ", payment_method=PaymentMethod.CARD, amount_minor=0, currency="XXX",  # noqa: S106  # a token, no password
    ticket_count=1, tier=Tier.STANDARD, category=Category.OTHER, billing_country="ZZ",
)  # fmt: skip

NO_EPOCH = "online_store_no_epoch"
BAD_STATE = "online_state_unreadable"


class Seen(NamedTuple):
    """What a decision was made from. keys: entity key of each group, None where the event names none."""

    keys: list[str | None]
    states: list[bytes | None]
    versions: list[int]
    epoch: str
    degraded: list[str]


class Made(NamedTuple):
    """A decision and all that its record needs."""

    event: Any
    seen: Seen
    served: Served
    score: float
    verdict: Verdict
    serving: Serving
    decision_id: str
    decided_at_ms: int


class Scorer:
    """Decides on scored events. One per event loop: the reader's scratch memory is shared by its requests."""

    def __init__(
        self,
        store: OnlineReader,
        reader: RequestReader,
        champion: ChampionSlot,
        metrics: Metrics,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._reader = reader
        self._champion = champion
        self._metrics = metrics
        self.now_ms = now_ms
        self._groups = [(group.name, group.group.entity) for group in reader.groups]
        self._by_action = {action: metrics.decisions.labels(action.value) for action in Action}

    def warm(self) -> None:
        """Compile what reads states and makes vectors, before a request has to wait for it.

        Once without a state and once with a byte of one: a state's bytes cannot be written to, and that
        makes them another type, for which numba compiles everything again (13 s on a new machine).
        """
        nothing: list[bytes | None] = [None] * len(self._groups)
        for states in (nothing, [b"\0", *nothing[1:]]):
            with contextlib.suppress(BadState):
                self._reader.read(states, WARM_UP, WARM_UP.event_time_ms, WARM_UP.transaction_id)

    async def decide(self, events: Sequence[Any]) -> list[Made]:
        """One decision for each event, in order. Raises NotReady while there is no model.

        A store that is slow, gone or without an epoch costs the decision its history, never its answer.
        """
        serving = self._champion.serving
        if serving is None:
            raise NotReady("no model is loaded yet; train one and publish it as champion")
        made: list[Made] = []
        for first in range(0, len(events), READ_TOGETHER):
            chunk = events[first : first + READ_TOGETHER]
            for event, seen in zip(chunk, await self._read(chunk), strict=True):
                made.append(self._decide(event, seen, serving))
        return made

    async def _read(self, events: Sequence[Any]) -> list[Seen]:
        """States of all entities of all events, in one round trip."""
        keys = [[entity_key(entity, event) for _, entity in self._groups] for event in events]
        wanted = [
            (group, key) for row in keys for (group, _), key in zip(self._groups, row, strict=True) if key is not None
        ]
        try:
            found = await self._store.read(wanted)
        except StoreUnavailable as error:
            return [self._unseen(row, error.reason) for row in keys]
        except NoEpoch:
            return [self._unseen(row, NO_EPOCH) for row in keys]
        return self._spread(keys, found)

    def _unseen(self, keys: list[str | None], reason: str) -> Seen:
        return Seen(keys, [None] * len(keys), [0] * len(keys), "", [reason])

    def _spread(self, keys: list[list[str | None]], found: EntityRead) -> list[Seen]:
        """Flat answers back to their events; a key that an event does not name reads as unknown."""
        answers = zip(found.states, found.versions, strict=True)
        seen = []
        for row in keys:
            pairs = [(None, 0) if key is None else next(answers) for key in row]
            seen.append(Seen(row, [state for state, _ in pairs], [v for _, v in pairs], found.epoch, []))
        return seen

    def _decide(self, event: Any, seen: Seen, serving: Serving) -> Made:
        seen, served = self._vector(event, seen)
        degraded = bool(seen.degraded)
        score = serving.model.score(served.features)
        action, fired = serving.decider.decide(score, served.features, event.amount_minor, degraded=degraded)
        # Approvals are nearly all and carry no reasons, so most requests walk the trees once.
        shares = None if action is Action.APPROVE else serving.model.explain(served.features)[1]
        verdict = serving.decider.verdict(action, fired, shares)
        self._by_action[action].inc()
        return Made(event, seen, served, score, verdict, serving, uuid.uuid4().hex, self.now_ms())

    def _vector(self, event: Any, seen: Seen) -> tuple[Seen, Served]:
        """A state that cannot be read costs this decision its history, and is counted; it is a defect."""
        try:
            return seen, self._reader.read(seen.states, event, event.event_time_ms, event.transaction_id)
        except BadState:
            seen = self._unseen(seen.keys, BAD_STATE)
            return seen, self._reader.read(seen.states, event, event.event_time_ms, event.transaction_id)


def answer(made: Made, latency_ms: float) -> Answer:
    """What the client gets."""
    return Answer(
        transaction_id=made.event.transaction_id,
        decision_id=made.decision_id,
        fraud_score=made.score,
        is_fraud=made.verdict.is_fraud,
        decision=made.verdict.action,
        reason_codes=made.verdict.reasons,
        model_version=made.serving.model.version,
        policy_version=made.serving.decider.version,
        degraded_reasons=made.seen.degraded,
        latency_ms=latency_ms,
    )
