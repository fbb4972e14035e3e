"""One payment's case, from the lake: its decision, what moved the score, what was known of it then, and what is known since."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from fraud_assets.contracts.events import Decision, Event, Explanation, Label, LabelFact, Transaction
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.features.registry import Registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import to_events
from fraud_assets.stores.served import served_vector

# What a payment shares with others, from the narrowest on.
SHARED = {"account": "account_id", "card": "card_token", "device": "device_id", "network": "ip_token"}

E = TypeVar("E", bound=Event)


class NoCase(LookupError):
    """No decision of that transaction, or of more than one account; the message says what to ask."""


@dataclass(frozen=True)
class Moved:
    """A feature of the decision's vector. value: None where unknown. by: what it moved the score by, in log odds (TreeSHAP)."""

    feature: str
    value: float | None
    by: float


@dataclass(frozen=True)
class Earlier:
    """A payment that came before, and what it shares with this one (names of SHARED). is_fraud: None while nobody has said."""

    payment: Transaction
    shares: tuple[str, ...]
    is_fraud: bool | None


@dataclass(frozen=True)
class Case:
    """decision: the newest of that payment. decided: how many there are. moved: largest first; empty until the explainer has come to it.

    earlier: newest first, as far as it had arrived when the decision was made. labels: whoever said something of this payment, oldest first.
    """

    decision: Decision
    decided: int
    moved: tuple[Moved, ...]
    earlier: tuple[Earlier, ...]
    labels: tuple[Label, ...]

    @property
    def asked(self) -> dict[str, object]:
        """The payment as it was scored: tokens in place of addresses and card numbers."""
        return self.decision.request


def find_case(
    lake: Lake, registry: Registry, transaction_id: str, account_id: str | None = None, days: int = 30
) -> Case:
    """Raises NoCase. days: how far `earlier` reaches back from the payment."""
    found = _of(lake, "decisions", Decision, "transaction_id", [transaction_id])
    accounts = sorted({decision.account_id for decision in found})
    if account_id is not None:
        found = [decision for decision in found if decision.account_id == account_id]
    elif len(accounts) > 1:
        raise NoCase(f"NoCase: {transaction_id} is a payment of {', '.join(accounts)}; say which with --account.")
    if not found:
        known = f" of {account_id}; it is one of {', '.join(accounts)}" if accounts else ""
        raise NoCase(
            f"NoCase: the lake has no decision of {transaction_id}{known}. The sink writes every few seconds: ask again, or look at"
            " `fraud_decision_events_pending` of the scorer."
        )
    decision = max(found, key=lambda one: one.decided_at_ms)
    # An id is its account's: another's payment of the same id is another payment.
    labels = [
        label
        for label in _of(lake, "labels", Label, "transaction_id", [transaction_id])
        if label.account_id == decision.account_id
    ]
    return Case(
        decision,
        len(found),
        _moved(lake, registry, decision),
        _earlier(lake, decision, days),
        tuple(labels),
    )


def _of(
    lake: Lake, table: str, contract: type[E], column: str, values: Sequence[str],
    from_ms: int | None = None, to_ms: int | None = None, known_ms: int | None = None,
) -> list[E]:  # fmt: skip
    rows = lake.scan(table, from_ms, to_ms, known_ms, among=(column, pa.array(values, pa.string())))
    return to_events(contract, rows)


def _moved(lake: Lake, registry: Registry, decision: Decision) -> tuple[Moved, ...]:
    """Names are those of the service that the decision names: of a service that is no longer declared, its place."""
    day = decision.event_time_ms
    found = _of(lake, "explanations", Explanation, "decision_id", [decision.decision_id], day, day + 1)
    if not found:
        return ()
    vector, by = served_vector(decision), np.array(found[0].contributions)
    names = _names(registry, decision) or [f"feature {place}" for place in range(len(by))]
    return tuple(
        Moved(names[place], None if np.isnan(vector[place]) else float(vector[place]), float(by[place]))
        for place in np.argsort(-np.abs(by), kind="stable")
        if by[place]
    )


def _names(registry: Registry, decision: Decision) -> Sequence[str] | None:
    for service in registry.services.values():
        if registry.service_digest(service) == decision.service_digest:
            return registry.feature_names(service)
    return None


def _earlier(lake: Lake, decision: Decision, days: int) -> tuple[Earlier, ...]:
    asked, at_ms = decision.request, decision.event_time_ms
    found: dict[tuple[str, str], tuple[Transaction, list[str]]] = {}
    for name, column in SHARED.items():
        value = asked.get(column)
        if value is None:
            continue
        for payment in _of(
            lake,
            "transactions",
            Transaction,
            column,
            [str(value)],
            at_ms - days * DAY_MS,
            at_ms,
            decision.decided_at_ms,
        ):
            identity = (payment.account_id, payment.transaction_id)
            if identity != (decision.account_id, decision.transaction_id):
                found.setdefault(identity, (payment, []))[1].append(name)
    verdicts = _verdicts(lake, [transaction_id for _, transaction_id in found])
    newest_first = sorted(found.items(), key=lambda item: -item[1][0].event_time_ms)
    return tuple(
        Earlier(payment, tuple(shares), verdicts.get(identity)) for identity, (payment, shares) in newest_first
    )


def _verdicts(lake: Lake, transaction_ids: Sequence[str]) -> dict[tuple[str, str], bool]:
    """By (account, transaction): what the label stage says today."""
    if not transaction_ids:
        return {}
    facts = _of(lake, "label_facts", LabelFact, "transaction_id", transaction_ids)
    return {(fact.account_id, fact.transaction_id): fact.is_fraud for fact in facts if fact.sign > 0}


def as_json(case: Case) -> bytes:
    """The case as JSON, for a tool; bytes of vectors and states are left to the lake."""
    decision = case.decision
    return msgspec.json.encode(
        {
            "transaction_id": decision.transaction_id,
            "account_id": decision.account_id,
            "decided_at_ms": decision.decided_at_ms,
            "action": decision.action,
            "ruled": decision.ruled,
            "fraud_score": decision.fraud_score,
            "reason_codes": decision.reason_codes,
            "degraded_reasons": decision.degraded_reasons,
            "model_version": decision.model_version,
            "decisions": case.decided,
            "request": decision.request,
            "moved": case.moved,
            "earlier": case.earlier,
            "labels": case.labels,
        }
    )
