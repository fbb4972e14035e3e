"""What the policy's rules would have done to every payment of a file: no verdict is needed for that."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.audit.history import Audited, shown_id
from fraud_assets.audit.needs import needs_of, reading
from fraud_assets.audit.pattern import totals
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.engine.batch import Spine, vector_chunks
from fraud_assets.policy.policy import DEFAULT_POLICY, Action, Rule
from fraud_assets.policy.reasons import TEXTS

SHOWN_EXAMPLES = 5
STRICTEST_FIRST = (Action.DENY, Action.REVIEW)

Floats32 = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Row = dict[str, Any]


def ruled(audited: Audited, rows: pl.DataFrame, key: TokenKey) -> Row:
    """The report's `rules`: each one's payments, and what all of them together would have denied and reviewed. rows: `with_money`."""
    silent = {rule.name: silence(rule, audited) for rule in DEFAULT_POLICY.rules}
    speaking = [rule for rule in DEFAULT_POLICY.rules if silent[rule.name] is None]
    fired = fired_of(audited, speaking)
    nothing = np.zeros(len(rows), np.bool_)
    return {
        "policy": DEFAULT_POLICY.version,
        "actions": {
            action: totals(rows.filter(hit)) for action, hit in strictest(speaking, fired, nothing).items()
        },
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


def silence(rule: Rule, audited: Audited) -> str | None:
    """Why a rule can say nothing of this file; None if it can."""
    known = needs_of(audited.service)
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


def fired_of(audited: Audited, rules: list[Rule]) -> dict[str, Flags]:
    """(n,) by rule: whether its conditions hold, each payment knowing only what came before it."""
    read = sorted({item.feature for rule in rules for item in rule.conditions})
    if not read:
        return {}
    part = reading(audited.service, frozenset(read))
    place = {name: at for at, name in enumerate(part.names)}
    spine = Spine.of_events(audited.log, part.service.scored.name)
    chunks = [chunk.features[:, [place[name] for name in read]] for chunk in vector_chunks(part, audited.log, spine)]
    return {rule.name: holds(rule, tuple(read), np.concatenate(chunks)) for rule in rules}


def holds(rule: Rule, names: tuple[str, ...], features: Floats32) -> Flags:
    """(n,) from features (n, n_names); null holds for nothing."""
    held: Flags = np.logical_and.reduce([features[:, names.index(one.feature)] >= one.value for one in rule.conditions])
    return held


def strictest(rules: list[Rule], fired: dict[str, Flags], nothing: Flags) -> dict[Action, Flags]:
    """(n,) by action: payments to which all rules together would have done that and nothing stricter."""
    found, left = dict[Action, Flags](), ~nothing
    for action in STRICTEST_FIRST:
        asked = np.logical_or.reduce([nothing, *(fired[rule.name] for rule in rules if rule.action is action)])
        found[action] = asked & left
        left = left & ~asked
    return found


def _examples(rows: pl.DataFrame, key: TokenKey) -> list[Row]:
    """The dearest payments, by token."""
    dearest = rows.sort(["money", "transaction_id"], descending=[True, False]).head(SHOWN_EXAMPLES)
    shown = dearest.select("transaction_id", "money").iter_rows()
    return [{"transaction_id": shown_id(name, key), "money_minor": money} for name, money in shown]
