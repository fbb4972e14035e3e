"""A rehearsal of what a guard is for: candidates that are known to be bad, in a canary of simulated payments. Pure, given a seed.

The guard, the machine and the split of accounts are those that serve; payments come at a steady rate and are looked at as the
sensor looks, so that what is found is how long a bad candidate would decide, within one's own bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from fraud_assets.models.artifact import Champion
from fraud_assets.rollout.bounds import Limits
from fraud_assets.rollout.guard import Guard, Scored, next_step
from fraud_assets.rollout.machine import (
    Appoint,
    Arm,
    BeginShadow,
    Halt,
    Phase,
    Rollout,
    Step,
    ToCanary,
    apply,
    arm,
)

WITHIN = 1_000  # canary requests, within which a bad candidate must be out
ACCOUNTS = 20_000
CHAMPION_DENIES = 0.01
WHO = "rehearsal"


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """denies: share of payments, over those that the champion denies. late, failing: shares; the rest takes 0.3 ms."""

    what: str
    denies: float = 0.005
    late: float = 0.001
    failing: float = 0.0


CANDIDATES: Mapping[str, Candidate] = {
    "sound": Candidate(what="denies half a percent more, and is late once in a thousand"),
    "denies": Candidate(what="denies a fifth of all payments", denies=0.2),
    "slow": Candidate(what="takes eight times the latency budget", late=1.0),
    "errors": Candidate(what="gives no score for every fourth payment", failing=0.25),
}


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """canary_requests: of the candidate's own accounts until it was out, or the rehearsal over. words: of the guard."""

    candidate: str
    phase: Phase
    canary_requests: int
    payments: int
    looks: int
    words: str

    @property
    def as_it_should(self) -> bool:
        """A sound candidate is still there; another one is out, in time."""
        if self.candidate == "sound":
            return self.phase is Phase.CANARY
        return self.phase is Phase.HALTED and self.canary_requests <= WITHIN


@dataclass(frozen=True)
class Traffic:
    """look_s: between two looks, as of the sensor."""

    per_second: float = 20.0
    look_s: float = 30.0
    share: float = 0.05


def rehearse(name: str, limits: Limits, traffic: Traffic = Traffic(), seed: int = 0) -> Rehearsed:
    """One candidate of CANDIDATES, until it is out or has had two thousand canary requests."""
    candidate, rng = CANDIDATES[name], np.random.default_rng(seed)
    rollout = _canary(traffic.share, seed)
    mine = np.array([arm(rollout, f"account-{number}") is Arm.CHALLENGER for number in range(ACCOUNTS)])
    guard, n = Guard(limits), max(int(traffic.per_second * traffic.look_s), 1)
    gathered, looks, own = guard.begin(rollout), 0, 0
    while True:
        looks += 1
        own_now = mine[rng.integers(ACCOUNTS, size=n)]
        at_ms = (1_000 * (np.arange(n) + n * (looks - 1)) / traffic.per_second).astype(np.int64)
        gathered = guard.fold(gathered, _payments(candidate, own_now, at_ms, limits, rng))
        own += int(own_now.sum())
        judgement = guard.judge(gathered)
        step = next_step(rollout, judgement, int(at_ms[-1]), WHO)
        if isinstance(step, Halt) or own >= 2 * WITHIN:
            after = apply(rollout, step) if isinstance(step, Halt) else rollout
            return Rehearsed(
                candidate=name, phase=after.phase, canary_requests=own, payments=n * looks, looks=looks, words=judgement.words
            )  # fmt: skip


def _canary(share: float, seed: int) -> Rollout:
    champion, challenger = Champion("champion", "c" * 64), Champion(f"candidate-{seed}", f"{seed:064x}")
    said: dict[str, Any] = {"at_ms": 0, "who": WHO, "why": "a rehearsal"}
    steps: tuple[Step, ...] = (
        Appoint(**said, champion=champion),
        BeginShadow(**said, challenger=challenger),
        ToCanary(**said, share=share, evidence={"rehearsal": True}),
    )  # fmt: skip
    rollout = Rollout()
    for step in steps:
        rollout = apply(rollout, step)
    return rollout


def _payments(
    candidate: Candidate, own: np.ndarray, at_ms: np.ndarray, limits: Limits, rng: np.random.Generator
) -> Scored:
    n, risk = len(own), rng.random(len(own))
    failed = rng.random(n) < candidate.failing
    return Scored(
        at_ms=at_ms,
        own=own & ~failed,
        asked=np.ones(n, bool),
        scores=np.where(failed, np.nan, risk),
        denied=risk < CHAMPION_DENIES + candidate.denies,
        champion_denied=(risk < CHAMPION_DENIES).astype(np.float64),
        took_ms=np.where(rng.random(n) < candidate.late, 8 * limits.latency_budget_ms, 0.3),
        champion_took_ms=np.full(n, 0.3),
    )
