"""Who is told of which decision, and what: pure. Nothing of a person but ids, the amount and reason codes leaves the platform."""

import hashlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from fraud_assets.contracts.events import Decision
from fraud_assets.policy.policy import Action

Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One audience: a team, or a client by its name or by its accounts.

    actions: which decisions. client: the scorer's client that asked; anybody by default, and who is not named by a decision
    is nobody's client. accounts: patterns (`*`, `?`) of account ids; every account by default. min_amount_minor: smaller
    payments are nobody's business. urls: where to (Apprise); secrets, so neither logs nor dead letters hold them.
    """

    name: Name
    urls: Annotated[tuple[str, ...], Meta(min_length=1)]
    actions: Annotated[frozenset[Action], Meta(min_length=1)] = frozenset({Action.DENY, Action.REVIEW})
    accounts: Annotated[tuple[str, ...], Meta(min_length=1)] = ("*",)
    client: Annotated[str, Meta(min_length=1)] | None = None
    min_amount_minor: int = 0

    def wants(self, decision: Decision, client: str = "") -> bool:
        amount = decision.request.get("amount_minor", 0)
        return (
            decision.action in self.actions
            and isinstance(amount, int)
            and amount >= self.min_amount_minor
            and self.client in (None, client)
            and any(fnmatchcase(decision.account_id, pattern) for pattern in self.accounts)
        )


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The notifications file."""

    notify: tuple[Rule, ...] = ()


class BadRules(ValueError):
    """The notifications file cannot be followed; the message names the place and the fix, and no URL."""


class Target(NamedTuple):
    """One URL of a rule, by its place in it."""

    rule: str
    place: int

    def __str__(self) -> str:
        return f"{self.rule}/{self.place}"


class Notice(NamedTuple):
    """What one target is told of one decision. id: the same each time that this is told again."""

    target: Target
    id: str
    title: str
    fields: dict[str, str]


def read_rules(raw: bytes) -> Rules:
    """Raises BadRules."""
    try:
        rules = msgspec.toml.decode(raw, type=Rules)
    except msgspec.DecodeError as error:
        raise BadRules(f"BadRules: {error}") from None
    names = [rule.name for rule in rules.notify]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadRules(
            f"BadRules: {', '.join(sorted(twice))}: names of [[notify]] must differ; notices are told apart by them."
        )
    return rules


def notices(rules: Rules, decision: Decision, client: str = "") -> Iterator[Notice]:
    """One for each target of each rule that wants to know, in the file's order. client: that asked, "" if nobody knows."""
    for rule in rules.notify:
        if rule.wants(decision, client):
            for place in range(len(rule.urls)):
                yield _notice(Target(rule.name, place), decision)


def _notice(target: Target, decision: Decision) -> Notice:
    known = f"{target}/{decision.decision_id}".encode()
    told = hashlib.blake2b(known, digest_size=16).hexdigest()
    fields = {
        "notification_id": told,
        "decision": decision.action,
        "decision_id": decision.decision_id,
        "transaction_id": decision.transaction_id,
        "account_id": decision.account_id,
        "amount_minor": str(decision.request.get("amount_minor", "")),
        "currency": str(decision.request.get("currency", "")),
        "reason_codes": " ".join(decision.reason_codes),
        "event_time_ms": str(decision.event_time_ms),
    }
    return Notice(target, told, f"Payment {decision.transaction_id}: {decision.action}", fields)
