"""Whether a rollout goes on: what is watched, within which bounds, and what is then said of it. Pure.

All bounds are on what the challenger does, or would do in a shadow, but for the two that compare it with the champion on the
same payment. Those on labels are told apart from those that stand in for them until labels mature.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.rollout.bounds import (
    Basis,
    Level,
    Limits,
    Watch,
    above_name,
    below_name,
    drift_watches,
    plain_watches,
)
from fraud_assets.rollout.evidence import Wealth, fold
from fraud_assets.rollout.machine import WATCHED, Halt, Rollout, Step, due
from fraud_assets.rollout.windows import Window, shares

Floats = npt.NDArray[np.float64]

LARGEST_LOG = 700.0  # e to this is still a float


class Verdict(StrEnum):
    GO_ON = "go_on"
    HALT = "halt"


class OtherEvidence(ValueError):
    """Evidence of another phase, or gathered within other bounds: begin anew."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Payments that were decided while the challenger was on trial, in their order.

    All (n,). at_ms: when. own: whether the challenger's verdict was the answer. asked: whether the challenger was: a scorer that has yet to load it asks nobody. scores: its
    own, NaN where it gave none. denied: whether it denies, or would; champion_denied: the same of the champion, NaN where nobody asked
    it. took_ms, champion_took_ms: how long each took to score, NaN where that was not measured.
    """

    at_ms: npt.ArrayLike
    own: npt.ArrayLike
    asked: npt.ArrayLike
    scores: npt.ArrayLike
    denied: npt.ArrayLike
    champion_denied: npt.ArrayLike
    took_ms: npt.ArrayLike
    champion_took_ms: npt.ArrayLike


@dataclass(frozen=True, kw_only=True)
class Matured:
    """Payments whose label is settled, in the order in which it settled; each once.

    Only those that were let through in the end: of one that was denied nobody learns what it would have been.
    """

    is_fraud: npt.ArrayLike
    denied: npt.ArrayLike
    amount_minor: npt.ArrayLike


class Gathered(msgspec.Struct, frozen=True):
    """What a guard knows of one phase: JSON-able. sequence: of the rollout. guard: digest of the bounds. windows: not over yet. own: payments
    that the challenger decided.
    """

    sequence: int
    guard: str
    tests: dict[str, Wealth]
    windows: dict[str, Window]
    own: int = 0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One test's word. wealth: the evidence against the challenger now; at `threshold` it alarms, and stays so."""

    name: str
    basis: Basis
    alarmed: bool
    n: int
    estimate: float | None
    at_most: float
    wealth: float
    peak: float
    threshold: float
    alarmed_at: int | None
    words: str


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """enough: as many payments as a phase must have seen before it may end well. own: those that the challenger decided. findings: alarms first."""

    verdict: Verdict
    enough: bool
    sequence: int
    own: int
    findings: list[Finding]

    @property
    def words(self) -> str:
        """One sentence for the log."""
        alarms = [finding.words for finding in self.findings if finding.alarmed]
        return "; ".join(alarms) or f"none of {len(self.findings)} tests alarms"

    def evidence(self) -> dict[str, Any]:
        """As a transition carries it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class Guard:
    """The tests of one challenger. levels: of its validation scores (`levels_of`); without any, drift is not watched."""

    def __init__(self, limits: Limits, levels: Sequence[Level] = ()) -> None:
        self.limits, self.levels = limits, tuple(levels)
        self._watches = {
            watch.test.name: watch for watch in [*plain_watches(limits), *drift_watches(limits, self.levels)]
        }
        tests = [(watch.test, watch.span) for watch in self._watches.values()]
        self.digest = hashlib.sha256(msgspec.json.encode((limits, tests))).hexdigest()

    def begin(self, rollout: Rollout) -> Gathered:
        """Nothing yet. Evidence is a phase's own: what a shadow showed is said of another world than a canary's."""
        windows = {name: Window() for name, watch in self._watches.items() if watch.span}
        return Gathered(rollout.sequence, self.digest, {name: Wealth() for name in self._watches}, windows)

    def fold(self, gathered: Gathered, scored: Scored | None = None, matured: Matured | None = None) -> Gathered:
        """With more observations, each given once. Raises OtherEvidence; OutOfRange for what cannot be."""
        self._check(gathered)
        seen = self._of_scored(scored) if scored else {}
        seen |= self._of_matured(matured) if matured else {}
        windows = dict(gathered.windows)
        for name, (at_ms, bad) in (self._in_windows(scored) if scored else {}).items():
            span = self._watches[name].span
            assert span is not None
            over, windows[name] = shares(span, windows[name], at_ms, bad)
            seen[name] = (over,)
        tests = {
            name: fold(self._watches[name].test, wealth, *seen[name]) if name in seen else wealth
            for name, wealth in gathered.tests.items()
        }
        own = gathered.own + (int(np.count_nonzero(scored.own)) if scored else 0)
        return msgspec.structs.replace(gathered, tests=tests, windows=windows, own=own)

    def judge(self, gathered: Gathered) -> Judgement:
        """Raises OtherEvidence."""
        self._check(gathered)
        findings = [_finding(watch, gathered.tests[name]) for name, watch in self._watches.items()]
        findings.sort(key=lambda finding: not finding.alarmed)
        return Judgement(
            verdict=Verdict.HALT if findings[0].alarmed else Verdict.GO_ON,
            enough=gathered.tests["deny_rate"].n >= self.limits.min_payments,
            sequence=gathered.sequence,
            own=gathered.own,
            findings=findings,
        )

    def _check(self, gathered: Gathered) -> None:
        if gathered.guard != self.digest:
            raise OtherEvidence(f"OtherEvidence: step {gathered.sequence} was judged within other bounds. Begin anew.")

    def _of_scored(self, scored: Scored) -> dict[str, tuple[Floats, ...]]:
        scores, denied = np.asarray(scored.scores, np.float64), np.asarray(scored.denied, np.float64)
        answered = np.isfinite(scores)
        more = (denied - np.asarray(scored.champion_denied, np.float64))[answered]
        more = more[np.isfinite(more)]
        seen: dict[str, tuple[Floats, ...]] = {
            "deny_rate": (denied[answered],),
            "excess_denials": (more,),
            "fewer_denials": (-more,),
        }
        for level in self.levels:
            above = (scores[answered] > level.score).astype(np.float64)
            seen |= {above_name(level): (above,), below_name(level): (1 - above,)}
        return seen

    def _in_windows(self, scored: Scored) -> dict[str, tuple[npt.NDArray[np.int64], Floats]]:
        """When, and whether something was wrong: of what comes in bursts. Late is not who is late together with the champion."""
        at_ms, asked = np.asarray(scored.at_ms, np.int64), np.asarray(scored.asked, np.bool_)
        took, theirs = (np.asarray(ms, np.float64) for ms in (scored.took_ms, scored.champion_took_ms))
        timed, budget_ms = np.isfinite(took), self.limits.latency_budget_ms
        late = (took > budget_ms) & ~(theirs > budget_ms)
        failed = ~np.isfinite(np.asarray(scored.scores, np.float64))
        return {
            "latency": (at_ms[timed], late[timed].astype(np.float64)),
            "errors": (at_ms[asked], failed[asked].astype(np.float64)),
            "absences": (at_ms, (~asked).astype(np.float64)),
        }

    def _of_matured(self, matured: Matured) -> dict[str, tuple[Floats, ...]]:
        is_fraud, denied = np.asarray(matured.is_fraud, np.bool_), np.asarray(matured.denied, np.bool_)
        through = ~denied
        money = np.minimum(np.asarray(matured.amount_minor, np.float64) / self.limits.value_cap_minor, 1.0)
        return {
            "false_positive_rate": (denied[~is_fraud].astype(np.float64),),
            "missed_value_share": (is_fraud[through].astype(np.float64), money[through]),
        }


def _finding(watch: Watch, wealth: Wealth) -> Finding:
    test, alarmed = watch.test, wealth.crossed_at is not None
    observed = "observations" if watch.span is None else "windows"
    measured = "?" if wealth.estimate is None else f"{wealth.estimate:.2%}"
    said = f"the challenger {watch.what.format(measured)}; at most {test.at_most:.2%} is tolerated ({wealth.n:,} {observed})"
    return Finding(
        name=test.name,
        basis=watch.basis,
        alarmed=alarmed,
        n=wealth.n,
        estimate=wealth.estimate,
        at_most=test.at_most,
        wealth=math.exp(min(wealth.now, LARGEST_LOG)),
        peak=math.exp(min(wealth.peak, LARGEST_LOG)),
        threshold=test.threshold,
        alarmed_at=wealth.crossed_at,
        words=said if wealth.n else f"{test.name}: no observation yet",
    )


def next_step(rollout: Rollout, judgement: Judgement, at_ms: int, who: str) -> Step | None:
    """What a guard does now: halt, take the step that is due, or nothing. Raises OtherEvidence for another phase's."""
    if judgement.sequence != rollout.sequence:
        raise OtherEvidence(f"OtherEvidence: of step {judgement.sequence}; the rollout is at {rollout.sequence}.")
    evidence = judgement.evidence()
    if judgement.verdict is Verdict.HALT:
        return Halt(at_ms=at_ms, who=who, why=judgement.words, evidence=evidence) if rollout.phase in WATCHED else None
    step = due(rollout, at_ms)
    if step is None or not judgement.enough:
        return None
    return step(at_ms=at_ms, who=who, why=f"its time is over, and {judgement.words}", evidence=evidence)
