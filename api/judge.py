"""Scores and verdicts: by the champion alone, or beside a challenger that decides its own share of accounts."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from fraud_assets.models.served import ServedModel
from fraud_assets.policy.policy import Decider, Policy, Verdict
from fraud_assets.rollout.machine import WATCHED, Arm, Rollout, arm

Floats = npt.NDArray[np.float32]


class Payments(NamedTuple):
    """What verdicts need of payments beside their vectors, as columns. degraded: which were read without their history."""

    account_ids: Sequence[str]
    amounts_minor: Sequence[int]
    degraded: Sequence[bool]

    def take(self, places: Sequence[int]) -> "Payments":
        accounts, amounts, degraded = ([column[place] for place in places] for column in self)
        return Payments(accounts, amounts, degraded)  # type: ignore[arg-type]  # each column's own


@dataclass(frozen=True)
class Serving:
    """A model with the policy compiled for its vector and thresholds: swapped as one."""

    model: ServedModel
    decider: Decider

    @classmethod
    def of(cls, model: ServedModel, policy: Policy) -> Self:
        thresholds = model.thresholds
        return cls(model, Decider(policy, model.manifest.feature_names, thresholds.review, thresholds.deny))

    def verdicts(self, scores: Sequence[float], features: Floats, payments: Payments) -> list[Verdict]:
        """What its policy makes of its scores of features (n, n_features)."""
        _, amounts, degraded = payments
        return self.decider.verdicts(scores, features, amounts, degraded, lambda rows: self.model.explain(rows)[1])


class Judged(NamedTuple):
    """serving: who decides. shadow: the score of the other one, by its version, where two are at work. scored_ms: as a Decision has it."""

    score: float
    verdict: Verdict
    serving: Serving
    shadow: dict[str, float]
    scored_ms: dict[str, float]


@dataclass(frozen=True)
class Lineup:
    """Who scores, swapped as one.

    challenger: scores every payment beside the champion, and decides those that are its own: none, if it is the champion before.
    """

    rollout: Rollout
    champion: Serving
    challenger: Serving | None = None

    def judged(
        self, payments: Payments, features: Floats, failed: Callable[[int], Any] = lambda _: None
    ) -> list[Judged]:
        """Of features (n, n_features), in order. failed: hears how many the challenger gave no score; the champion decides those."""
        champion, took_ms = self.champion, dict[str, float]()
        began_s = time.perf_counter()
        scores = champion.model.score_many(features)
        if self.rollout.phase in WATCHED:
            took_ms[champion.model.version] = _ms_since(began_s)
        verdicts = champion.verdicts(scores, features, payments)
        if self.challenger is None:
            return [
                Judged(score, verdict, champion, {}, took_ms) for score, verdict in zip(scores, verdicts, strict=True)
            ]
        began_s = time.perf_counter()
        theirs = _scores(self.challenger, features, failed)
        took_ms[self.challenger.model.version] = _ms_since(began_s)
        judged = [
            Judged(score, verdict, champion, _shadow(self.challenger, its), took_ms)
            for score, verdict, its in zip(scores, verdicts, theirs, strict=True)
        ]
        mine = [
            place
            for place, (account_id, score) in enumerate(zip(payments.account_ids, theirs, strict=True))
            if math.isfinite(score) and arm(self.rollout, account_id) is Arm.CHALLENGER
        ]
        if mine:
            own = [theirs[place] for place in mine]
            found = _verdicts(self.challenger, own, features.take(mine, axis=0), payments.take(mine), failed)
            for place, score, verdict in zip(mine, own, found, strict=False):
                judged[place] = Judged(score, verdict, self.challenger, _shadow(champion, scores[place]), took_ms)
        return judged


def _scores(challenger: Serving, features: Floats, failed: Callable[[int], Any]) -> list[float]:
    """NaN where it has none: whatever a challenger does, the payment is decided."""
    try:
        scores = challenger.model.score_many(features)
    except Exception:  # noqa: BLE001  # it is on trial, and the payment is not
        scores = [math.nan] * len(features)
    if missing := sum(not math.isfinite(score) for score in scores):
        failed(missing)
    return scores


def _verdicts(
    challenger: Serving,
    scores: Sequence[float],
    features: Floats,
    payments: Payments,
    failed: Callable[[int], Any],
) -> list[Verdict]:
    """One for each, or none at all: the champion's stand then."""
    try:
        return challenger.verdicts(scores, features, payments)
    except Exception:  # noqa: BLE001  # as above
        failed(len(scores))
        return []


def _ms_since(began_s: float) -> float:
    return round((time.perf_counter() - began_s) * 1_000, 3)


def _shadow(serving: Serving, score: float) -> dict[str, float]:
    """What the other one would have said; nothing where it said nothing."""
    return {serving.model.version: score} if math.isfinite(score) else {}
