"""From what people said about a transaction to signed label facts. Pure.

A verdict is a function of the *set* of statements made so far, so the facts that remain after all
retractions do not depend on the order in which statements arrived:

- of each source, the statement of the highest revision stands;
- of the sources, operator goes before chargeback before manual review: an operator has seen the
  chargeback, and a bank's loss is harder evidence than a reviewer's opinion;
- without a statement a transaction is legitimate once the label delay has passed;
- a fact is dated to when its verdict began to stand, in order of `label_known_at`.

When the verdict changes, its fact is retracted (sign -1, at the time of the fact it takes back)
and the new one follows. Fact ids count the facts of a transaction, so a replay repeats them.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from fraud_assets.contracts.events import Category, Label, LabelFact, LabelSource, Transaction

PRECEDENCE = (LabelSource.OPERATOR, LabelSource.CHARGEBACK, LabelSource.MANUAL_REVIEW)


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """One label as the case file keeps it."""

    known_at_ms: int
    source: LabelSource
    revision: int
    is_fraud: bool
    label_id: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a fact repeats of its transaction, and when that happened."""

    event_time_ms: int
    transaction_id: str
    account_id: str
    event_id: str
    promoter_id: str
    device_id: str
    ip_token: str
    card_token: str | None
    category: Category
    amount_minor: int


class Verdict(NamedTuple):
    is_fraud: bool
    since_ms: int


class Case(msgspec.Struct, frozen=True):
    """All the label stage knows of one transaction.

    subject: None while only labels of it have arrived. standing: what its facts add up to.
    emitted: how many facts it has made. outbox: those of them that may not be in the log yet, in order.
    """

    subject: Subject | None = None
    statements: tuple[Statement, ...] = ()
    standing: Verdict | None = None
    emitted: int = 0
    outbox: tuple[LabelFact, ...] = ()


SUBJECT_FIELDS = Subject.__struct_fields__


def subject_of(transaction: Transaction) -> Subject:
    return Subject(**{name: getattr(transaction, name) for name in SUBJECT_FIELDS})


def with_subject(case: Case, subject: Subject) -> Case:
    """The first transaction of an identity is its subject; copies change nothing."""
    return case if case.subject else msgspec.structs.replace(case, subject=subject)


def statement_of(label: Label) -> Statement:
    return Statement(label.event_time_ms, label.source, label.revision, label.is_fraud, label.label_id)


def with_label(case: Case, label: Label) -> Case:
    """Add a statement; a label id speaks once, whatever a copy of it says."""
    if any(statement.label_id == label.label_id for statement in case.statements):
        return case
    return msgspec.structs.replace(case, statements=(*case.statements, statement_of(label)))


def owing(case: Case, facts: Sequence[LabelFact]) -> Case:
    """The case that has yet to send these facts, after what it owed before."""
    return msgspec.structs.replace(case, outbox=(*case.outbox, *facts)) if facts else case


def paid(case: Case) -> Case:
    """The case once its outbox is in the log."""
    return msgspec.structs.replace(case, outbox=()) if case.outbox else case


def due_ms(event_time_ms: int, delay_ms: int) -> int:
    """When a transaction that nobody spoke of becomes legitimate."""
    return event_time_ms + delay_ms


def settle(case: Case, delay_ms: int, now_ms: int) -> tuple[Case, list[LabelFact]]:
    """The facts that bring what was emitted in line with the verdict as of now, and the case after them."""
    if case.subject is None:
        return case, []
    verdict = verdict_of(case.subject.event_time_ms, case.statements, delay_ms, now_ms)
    if verdict == case.standing:
        return case, []
    facts = []
    if case.standing is not None:
        facts.append(_fact(case.subject, case.emitted, case.standing, -1))
    if verdict is not None:
        facts.append(_fact(case.subject, case.emitted + len(facts), verdict, 1))
    return msgspec.structs.replace(case, standing=verdict, emitted=case.emitted + len(facts)), facts


def verdict_of(event_time_ms: int, statements: tuple[Statement, ...], delay_ms: int, now_ms: int) -> Verdict | None:
    """The verdict that a set of statements adds up to, and since when; None before anybody could know."""
    due = due_ms(event_time_ms, delay_ms)
    steps: list[tuple[int, Statement | None]] = [(statement.known_at_ms, statement) for statement in statements]
    if due <= now_ms:
        steps.append((due, None))
    said: dict[LabelSource, Statement] = {}
    verdict: Verdict | None = None
    # A label known at the very moment of maturity counts first: it is known then.
    for at, statement in sorted(steps, key=_step_order):
        if statement is not None:
            kept = said.get(statement.source)
            if kept is None or _rank(statement) > _rank(kept):
                said[statement.source] = statement
        is_fraud = next((said[source].is_fraud for source in PRECEDENCE if source in said), False)
        if verdict is None or verdict.is_fraud != is_fraud:
            verdict = Verdict(is_fraud, at)
    return verdict


def fact_id(account_id: str, transaction_id: str, number: int) -> str:
    """The same fact again has the same id, so the dedupe stage drops what a replay repeats."""
    text = f"{account_id}\x00{transaction_id}\x00{number}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _rank(statement: Statement) -> tuple[int, int, str]:
    """Among statements of one source; equal revisions by time, then by id, so that order does not count."""
    return statement.revision, statement.known_at_ms, statement.label_id


def _step_order(step: tuple[int, Statement | None]) -> tuple[int, bool, int, int, str]:
    at, statement = step
    if statement is None:
        return at, True, 0, 0, ""
    # At one instant the less weighty source first, so that only the weightiest verdict is dated there.
    return at, False, -PRECEDENCE.index(statement.source), statement.revision, statement.label_id


def _fact(subject: Subject, number: int, verdict: Verdict, sign: int) -> LabelFact:
    known = {name: getattr(subject, name) for name in SUBJECT_FIELDS if name != "event_time_ms"}
    return LabelFact(
        event_time_ms=verdict.since_ms,
        fact_id=fact_id(subject.account_id, subject.transaction_id, number),
        is_fraud=verdict.is_fraud,
        sign=sign,
        **known,
    )
