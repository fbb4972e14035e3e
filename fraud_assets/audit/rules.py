"""What the policy's rules would have done to every payment of a file: no verdict is needed for that."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.audit.history import Audited, shown_id
from fraud_assets.audit.model import NEVER, SEVERITY, severities
from fraud_assets.audit.needs import Fields, needs_of, reading
from fraud_assets.audit.pattern import totals
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.engine.batch import Spine, vector_chunks
from fraud_assets.policy.policy import DEFAULT_POLICY, Action, Rule
from fraud_assets.policy.reasons import TEXTS

SHOWN_EXAMPLES = 5

Floats32 = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Row = dict[str, Any]


def ruled(audited: Audited, rows: pl.DataFrame, key: TokenKey) -> Row:
    """The report's `rules`: each one's payments, and what all of them together would have denied and reviewed. rows: `with_money`."""
    known = needs_of(audited.service)
    silent = {rule.name: silence(rule, audited, known) for rule in DEFAULT_POLICY.rules}
    speaking = [rule for rule in DEFAULT_POLICY.rules if silent[rule.name] is None]
    names, features = read_by(speaking, audited)
    severity = severities(names, features, np.zeros(len(features)), NEVER)
    fired = {rule.name: holds(rule, names, features) for rule in speaking}
    nothing = np.zeros(len(features), np.bool_)
    return {
        "policy": DEFAULT_POLICY.version,
        "actions": {action: totals(rows.filter(severity == SEVERITY[action])) for action in (Action.DENY, Action.REVIEW)},
        "rules": [
            {
                "name": rule.name,
                "action": rule.action,
                "says": TEXTS[rule.reason],
                "silent": silent[rule.name],
                **totals(hit := rows.filter(fired.get(rule.name, nothing))),
                "examples": _examples(hit, key),
            }
            for rule in DEFAULT_POLICY.rules
        ],
    }  # fmt: skip


def silence(rule: Rule, audited: Audited, known: Mapping[str, Fields]) -> str | None:
    """Why a rule can say nothing of this file; None if it can. known: `needs_of` its service."""
    features = [item.feature for item in rule.conditions]
    if unknown := [name for name in features if name not in known]:
        return f"{audited.service.service.name} has no {', '.join(unknown)}"
    needed = frozenset().union(*(known[name] for name in features))
    there = {*audited.mapped, *audited.log.columns}
    if absent := sorted(needed - there):
        return f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not mapped"
    fields = sorted(needed & set(audited.rows.columns))
    if empty := [name for name in fields if audited.rows[name].null_count() == len(audited.rows)]:
        return f"{', '.join(empty)} {'is' if len(empty) == 1 else 'are'} blank in every row"
    return None


def read_by(rules: list[Rule], audited: Audited) -> tuple[tuple[str, ...], Floats32]:
    """What these rules are about, and (n, n_names) it, each payment knowing only what came before it."""
    names = tuple(sorted({item.feature for rule in rules for item in rule.conditions}))
    if not names:
        return names, np.empty((len(audited.rows), 0), np.float32)
    part = reading(audited.service, frozenset(names))
    columns = [part.names.index(name) for name in names]
    spine = Spine.of_events(audited.log, part.service.scored.name)
    return names, np.concatenate([chunk.features[:, columns] for chunk in vector_chunks(part, audited.log, spine)])


def holds(rule: Rule, names: tuple[str, ...], features: Floats32) -> Flags:
    """(n,) from features (n, n_names); null holds for nothing."""
    held: Flags = np.logical_and.reduce([features[:, names.index(one.feature)] >= one.value for one in rule.conditions])
    return held


def _examples(rows: pl.DataFrame, key: TokenKey) -> list[Row]:
    """The dearest payments, by token."""
    dearest = rows.sort(["money", "transaction_id"], descending=[True, False]).head(SHOWN_EXAMPLES)
    shown = dearest.select("transaction_id", "money").iter_rows()
    return [{"transaction_id": shown_id(name, key), "money_minor": money} for name, money in shown]
