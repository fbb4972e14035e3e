"""Labels meet their transactions and become signed label facts, in their own topic.

It follows both raw topics by itself. Transactions wait in Redis for their label delay; a label of an
older one finds it in the lake; a label of an unknown one waits for it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import redis
import structlog
from quixstreams.sinks.base import SinkBackpressureError

from fraud_assets.contracts.cards import CardsInIds
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Label, LabelFact, Transaction
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import LABEL_FACTS, LABELS, TRANSACTIONS
from fraud_assets.labels.facts import Case, due_ms, owing, paid, settle, subject_of, with_label, with_subject
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.lake_topics import LakeTopicIds
from streaming import metrics
from streaming.core.judged import decode_judged
from streaming.core.records import Accepted, Send
from streaming.edges.broker import Sender, application, consume, declare
from streaming.edges.cases import Identity, LakeCases, RedisCases
from streaming.edges.claim import claim
from streaming.edges.event_sink import EventSink
from streaming.edges.incarnation import Incarnation
from streaming.edges.lake import without_pandas
from streaming.edges.seen import connect
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

GROUP = "fraud-worker-labels"
SWEEP_S = 1.0
SWEEP_ROWS = 1_000
RETRY_S = 0.5
DAY_MS = 86_400_000
WAY_OUT = "The router says what to do."


class CaseStore(Protocol):
    """Young case files; see RedisCases."""

    def read(self, identities: Sequence[Identity]) -> list[Case | None]: ...
    def write(self, cases: Mapping[Identity, Case], partitions: Mapping[Identity, int], delay_ms: int) -> None: ...
    def due(self, partition: int, now_ms: int, limit: int) -> list[Identity]: ...
    def forget_due(self, partition: int, identities: Iterable[Identity]) -> None: ...


class Archive(Protocol):
    """Case files of the lake; see LakeCases."""

    def find(self, identities: Iterable[Identity]) -> dict[Identity, tuple[Case, int]]: ...


class LabelStage:
    """Events in, facts out. What a case decided is saved before it is sent, and cleared after.

    So a fact has the bytes it was first sent with, whatever else is known when a crash repeats it, and the
    dedupe stage drops the repetition.
    """

    def __init__(
        self,
        cases: CaseStore,
        archive: Archive,
        emit: Callable[[list[LabelFact]], None],
        delay_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._cases = cases
        self._archive = archive
        self._emit = emit
        self._delay_ms = delay_ms
        self._now_ms = now_ms

    def apply(self, events: Sequence[Accepted]) -> list[LabelFact]:
        """Add transactions and labels to their cases, settle those and emit what changed."""
        partitions: dict[Identity, int] = {}
        for one in events:
            partitions[_identity(one)] = one.record.partition
        read = self._cases.read(list(partitions))
        cases = {identity: case or Case() for identity, case in zip(partitions, read, strict=True)}
        known = dict(zip(partitions, read, strict=True))
        for one in events:
            cases[_identity(one)] = _with_event(cases[_identity(one)], one)
        self._consult_archive(cases, {identity for identity, case in known.items() if case is None})
        changed = {identity: case for identity, case in cases.items() if case != known[identity] or case.outbox}
        return self._settle(changed, partitions)

    def _consult_archive(self, cases: dict[Identity, Case], new: set[Identity]) -> None:
        """A label of a transaction that nobody remembers: it is old, imported, or not there yet.

        Or a transaction that is due when it comes: perhaps the copy of one whose case is long closed.
        """
        now_ms = self._now_ms()
        unknown = [
            identity
            for identity, case in cases.items()
            if case.subject is None
            or (identity in new and due_ms(case.subject.event_time_ms, self._delay_ms) <= now_ms)
        ]
        if not unknown:
            return
        for identity, (archived, _) in self._archive.find(unknown).items():
            said = {statement.label_id: statement for statement in (*archived.statements, *cases[identity].statements)}
            cases[identity] = Case(archived.subject, tuple(said.values()), archived.standing, archived.emitted)
        metrics.WAITING.inc(sum(cases[identity].subject is None for identity in unknown))

    def sweep(self, owned: Iterable[int]) -> list[LabelFact]:
        """Transactions of these partitions whose delay has passed in silence become legitimate.

        So does what a process that died still owed find its way into the log.
        """
        facts = []
        for partition in owned:
            due = self._cases.due(partition, self._now_ms(), SWEEP_ROWS)
            read = self._cases.read(due)
            cases = {identity: case for identity, case in zip(due, read, strict=True) if case is not None}
            # Nobody swept for longer than a case is kept: the lake has it still.
            expired = [identity for identity in due if identity not in cases]
            cases |= {identity: case for identity, (case, _) in self._archive.find(expired).items()} if expired else {}
            facts += self._settle(cases, dict.fromkeys(cases, partition))
            self._cases.forget_due(partition, set(due) - set(cases))
        return facts

    def _settle(self, cases: dict[Identity, Case], partitions: Mapping[Identity, int]) -> list[LabelFact]:
        """Ordered steps: save each case with the facts it owes; send them; save that it owes nothing."""
        now_ms = self._now_ms()
        settled = {identity: owing(*settle(case, self._delay_ms, now_ms)) for identity, case in cases.items()}
        self._cases.write(settled, partitions, self._delay_ms)
        owed = {identity: case for identity, case in settled.items() if case.outbox}
        facts = [fact for case in owed.values() for fact in case.outbox]
        if facts:
            self._emit(facts)
            self._cases.write({identity: paid(case) for identity, case in owed.items()}, partitions, self._delay_ms)
        return facts


def _identity(one: Accepted) -> Identity:
    assert isinstance(one.event, Transaction | Label)
    return one.event.account_id, one.event.transaction_id


def _with_event(case: Case, one: Accepted) -> Case:
    if isinstance(one.event, Transaction):
        return with_subject(case, subject_of(one.event))
    assert isinstance(one.event, Label)
    return with_label(case, one.event)


class LabelSink(EventSink):
    """Applies what each checkpoint brings of both topics."""

    def __init__(
        self,
        stage: LabelStage,
        owned: Callable[[], set[tuple[str, int]]],
        key: TokenKey,
        cards_in_ids: CardsInIds = "refuse",
    ) -> None:
        # A router of the next version accepts fields that we do not know: the payment would get no verdict by silence.
        super().__init__(key, cards_in_ids, decode_judged)
        self._stage = stage
        self._owned = owned
        self._swept_s = 0.0

    def flush(self) -> None:
        events = self.events()
        try:
            with metrics.PROCESSING.labels("labels").time():
                facts = self._stage.apply(events)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            log.warning("redis_unavailable", stage="labels", error=type(error).__name__)
            raise SinkBackpressureError(RETRY_S) from error
        self.trace_all(events)
        log.info("labels_applied", n=len(events), facts=len(facts))

    def tick(self) -> None:
        """Called after every poll; a checkpoint without records is never flushed, and time passes in it."""
        if time.monotonic() - self._swept_s < SWEEP_S:
            return
        self._swept_s = time.monotonic()
        try:
            facts = self._stage.sweep(sorted(at for topic, at in self._owned() if topic == TRANSACTIONS.name))
        except (redis.ConnectionError, redis.TimeoutError) as error:
            log.warning("redis_unavailable", stage="labels", error=type(error).__name__)
            return
        if facts:
            log.info("labels_matured", facts=len(facts))


def emitter(sender: Sender) -> Callable[[list[LabelFact]], None]:
    """Into the topic of facts, delivered before it returns."""

    def emit(facts: list[LabelFact]) -> None:
        sender.send(Send(LABEL_FACTS.name, fact.account_id.encode(), encode(fact), []) for fact in facts)
        sender.flush()
        for fact in facts:
            metrics.FACTS.labels(fact.sign).inc()

    return emit


def keep_ms(delay_ms: int) -> int:
    """How long a case is kept, and a label waits for its purchase."""
    return 2 * max(delay_ms, DAY_MS)


def fill(cases: RedisCases, archive: LakeCases, delay_ms: int, now_ms: int) -> None:
    """An empty store forgets nobody: young transactions, imported ones too, are taken from the lake, and labels that wait for one."""
    if cases.is_filled():
        return
    found = archive.young(now_ms - delay_ms - DAY_MS) | archive.unmet(now_ms - keep_ms(delay_ms))
    kept = cases.read(list(found))
    new = {identity: case for (identity, (case, _)), held in zip(found.items(), kept, strict=True) if held is None}
    cases.write(new, {identity: found[identity][1] for identity in new}, delay_ms)
    cases.mark_filled()
    log.info("label_cases_filled", n=len(new))


def run(settings: WorkerSettings) -> None:
    """Join labels until SIGTERM, then finish the checkpoint."""
    without_pandas()
    metrics.serve(*settings.metrics_address(2))
    delay_ms = settings.label_delay_ms
    cases = RedisCases(connect(settings.redis_url), keep_ms(delay_ms))
    archive = LakeCases(Lake(settings.lake_uri))
    sender = Sender(settings.kafka_bootstrap_servers)

    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    fill(cases, archive, delay_ms, now_ms())
    app = application(settings, "labels", GROUP, settings.label_flush_s)
    stage = LabelStage(cases, archive, emitter(sender), delay_ms, now_ms)
    sink = LabelSink(stage, app.assigned, TokenKey.of_settings(settings), settings.cards_in_ids)
    consume(app, sink, [TRANSACTIONS, LABELS], settings.replication_factor)
    declare(app, [LABEL_FACTS], settings.replication_factor)
    incarnation = Incarnation(settings, GROUP, [TRANSACTIONS, LABELS], LakeTopicIds(settings.lake_uri), WAY_OUT)
    incarnation.check()
    claim(settings, GROUP, [TRANSACTIONS, LABELS])
    app.every_poll(sink.tick)
    app.every_poll(incarnation.tick)
    log.info("label_stage_started", group=GROUP, label_delay_days=settings.label_delay_days)
    app.run()
