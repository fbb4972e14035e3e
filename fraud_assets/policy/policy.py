"""Score, rules and what is missing → an action. Pure: no clock, no I/O.

The score's thresholds come with the model, for they were chosen on its scores; rules are ours and
hold whatever the model says. A rule can only make an action stricter.
"""

import hashlib
from collections.abc import Callable, Sequence
from enum import IntEnum, StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.policy.reasons import Attribution, ReasonCode, in_order

Floats = npt.NDArray[np.float32]


class Action(StrEnum):
    APPROVE = "approve"
    REVIEW = "review"
    DENY = "deny"


class _Severity(IntEnum):
    APPROVE, REVIEW, DENY = range(3)


_ACTIONS = (Action.APPROVE, Action.REVIEW, Action.DENY)
_SEVERITY = {action: _Severity(place) for place, action in enumerate(_ACTIONS)}


class AtLeast(msgspec.Struct, frozen=True):
    """A served feature has at least this value; null never has."""

    feature: str
    value: float


class Rule(msgspec.Struct, frozen=True):
    """All conditions hold → the action, at least, with this reason."""

    name: str
    conditions: tuple[AtLeast, ...]
    action: Action
    reason: ReasonCode


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """version: for people. digest: of everything below, for machines.

    degraded_review_minor: without history a payment of at least this much is looked at by somebody.
    """

    version: str
    rules: tuple[Rule, ...]
    degraded_review_minor: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class BadPolicy(ValueError):
    """A rule about a feature the service does not serve."""


class Verdict(NamedTuple):
    """ruled: the strictest action of the rules that fired, whatever the score; empty where none did."""

    action: Action
    reasons: list[ReasonCode]
    ruled: str = ""

    @property
    def is_fraud(self) -> bool:
        """What we act on as fraud: a denial. A review is a question."""
        return self.action is Action.DENY


def _rule(name: str, action: Action, reason: ReasonCode, **conditions: float) -> Rule:
    return Rule(name, tuple(AtLeast(feature, value) for feature, value in conditions.items()), action, reason)


# Counts chosen so that an unlucky customer (two wrong digits, one empty account) stays below them.
# An address alone denies nobody: a hall full of fans shares one. It takes many cards on it as well.
DEFAULT_POLICY = Policy(
    version="2026-11.1",
    rules=(
        _rule("card_decline_burst", Action.DENY, ReasonCode.CARD_TESTING, card_declined_count_1h=5),
        _rule("device_card_testing", Action.DENY, ReasonCode.CARD_TESTING,
              device_declined_count_1h=5, device_distinct_cards_1h=4),
        _rule("ip_card_testing", Action.DENY, ReasonCode.CARD_TESTING,
              ip_declined_count_1h=10, ip_distinct_cards_1h=8, ip_declined_ratio_1h=0.5),
        _rule("account_card_testing", Action.REVIEW, ReasonCode.CARD_TESTING,
              account_declined_count_1h=4, account_distinct_cards_1h=3),
        _rule("card_velocity", Action.REVIEW, ReasonCode.HIGH_FREQUENCY, card_txn_count_1h=10),
        _rule("impossible_travel", Action.REVIEW, ReasonCode.IMPOSSIBLE_TRAVEL,
              implied_speed_kmh=1_200, distance_from_last_km=500),
    ),
    degraded_review_minor=50_000,
)  # fmt: skip


class Decider:
    """A policy compiled for one model's vector and thresholds.

    Without history (`degraded`) the score says little and a denial would hit whole crowds of customers,
    so the strictest action is then a review; large amounts get one whatever the score.
    """

    def __init__(self, policy: Policy, feature_names: Sequence[str], review: float, deny: float) -> None:
        self.policy = policy
        self.version = policy.version
        self.digest = policy.digest
        self._review, self._deny = review, deny
        self._attribution = Attribution(feature_names)
        place = {name: number for number, name in enumerate(feature_names)}
        wanted = sorted({item.feature for rule in policy.rules for item in rule.conditions})
        unknown = [name for name in wanted if name not in place]
        if unknown:
            raise BadPolicy(
                f"BadPolicy: {policy.version} has rules about {', '.join(unknown)}, which the service does not serve."
            )
        self._picked = np.array([place[name] for name in wanted], np.int64)
        bounds = [(item.feature, item.value) for rule in policy.rules for item in rule.conditions]
        self._least = np.array([min(bound for of, bound in bounds if of == name) for name in wanted], np.float64)
        self._has_conditions = all(rule.conditions for rule in policy.rules)
        at = {name: number for number, name in enumerate(wanted)}
        self._rules = [
            ([(at[item.feature], item.value) for item in rule.conditions], _SEVERITY[rule.action], rule.reason)
            for rule in policy.rules
        ]

    def verdicts(
        self,
        scores: Sequence[float],
        features: Floats,
        amounts_minor: Sequence[int],
        degraded: Sequence[bool],
        explain: Callable[[Floats], npt.NDArray[np.float64]],
    ) -> list[Verdict]:
        """An action for each of features (n, n_features) float32, NaN for null, and the reasons that go with it.

        explain: rows of features → (n, n_features), what moved their scores. Approvals are nearly all and need no reasons, so
        it is asked of few.
        """
        picked = features.take(self._picked, axis=1)
        if len(picked) > 1 and self._has_conditions:
            verdicts = [Verdict(Action.APPROVE, [])] * len(picked)
            for place in self._in_question(scores, picked, degraded):
                verdicts[place] = self._decide(
                    scores[place], picked[place].tolist(), amounts_minor[place], degraded[place]
                )
        else:
            verdicts = list(map(self._decide, scores, picked.tolist(), amounts_minor, degraded))
        places = [place for place, one in enumerate(verdicts) if one.action is not Action.APPROVE]
        if places:
            for place, shares in zip(places, explain(features.take(places, axis=0)), strict=True):
                action, fired, ruled = verdicts[place]
                verdicts[place] = Verdict(action, in_order(fired, self._attribution.top(shares)), ruled)
        return verdicts

    def _in_question(self, scores: Sequence[float], picked: Floats, degraded: Sequence[bool]) -> list[int]:
        """Places of those that may be no approvals, for their score, for want of history, or because a condition of a rule may hold. Of most none does."""
        may_fire = np.any(picked >= self._least, axis=1)
        found: list[int] = (may_fire | ~(np.array(scores) < self._review) | np.array(degraded)).nonzero()[0].tolist()
        return found

    def _decide(self, score: float, values: Sequence[float], amount_minor: int, degraded: bool) -> Verdict:
        """The action and the reasons of the rules that fired, each of which makes it no approval. values: of what rules are about."""
        severity, by_rule = (score >= self._review) + (score >= self._deny), 0
        reasons: list[ReasonCode] = []
        for conditions, at_least, reason in self._rules:
            for place, bound in conditions:  # a loop: `all` of a generator costs a payment 3 µs
                if not values[place] >= bound:
                    break
            else:
                by_rule = max(by_rule, at_least)
                reasons.append(reason)
        severity = max(severity, by_rule)
        if degraded:
            severity = min(max(severity, amount_minor >= self.policy.degraded_review_minor), _Severity.REVIEW)
            reasons.append(ReasonCode.LIMITED_INFORMATION)
        return Verdict(_ACTIONS[severity], reasons if severity else [], _ACTIONS[by_rule] if by_rule else "")
