"""Shares within windows: which payments each is of, and that a test of them halts for what lasts and not for bursts."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.rollout.bounds import BURST, Limits
from fraud_assets.rollout.guard import Gathered, Guard, Scored, Verdict
from fraud_assets.rollout.windows import Span, Window, shares
from tests.rollout.made import after, appoint, canary, shadow

SPAN = Span(payments=3, ms=10)
CANARY = after(appoint(), shadow(), canary())
GUARD = Guard(Limits())
Flags = np.ndarray


def test_a_window_ends_when_it_has_its_payments_and_its_time_and_the_next_one_does_not_count() -> None:
    """Four at once wait for the clock; three within twenty milliseconds for the third."""
    at_ms = [0, 0, 0, 0, 10, 11, 22, 23, 30, 40, 41]
    values = [1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1]

    found, window = shares(SPAN, Window(), at_ms, values)

    assert found.tolist() == [2 / 5, 0.0 / 3 + 1 / 3]
    assert window == Window(counts=False, latest_ms=41)


def test_a_payment_that_is_late_in_the_order_turns_no_clock_back() -> None:
    found, window = shares(SPAN, Window(), [100, 90, 109, 109], [1, 0, 1, 0])

    assert (found.tolist(), window) == ([], Window(True, 4, 2.0, 100, 109))


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), max_size=60),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_windows_are_the_same_however_payments_are_batched(payments: list[tuple[int, int]], cuts: list[int]) -> None:
    at_ms = np.cumsum([step for step, _ in payments], dtype=np.int64)
    values = np.array([value for _, value in payments], np.float64)
    whole = shares(SPAN, Window(), at_ms, values)

    window, found = Window(), list[float]()
    edges = [0, *sorted(cuts), len(payments)]
    for start, end in itertools.pairwise(edges):
        part, window = shares(SPAN, window, at_ms[start:end], values[start:end])
        found += part.tolist()

    assert (found, window) == (whole[0].tolist(), whole[1])


@given(st.integers(0, 400), st.integers(1, BURST.payments))
def test_a_burst_no_longer_than_a_window_is_in_one_that_counts_at_most(start: int, length: int) -> None:
    values = np.zeros(600)
    values[start : start + length] = 1

    found, _ = shares(BURST, Window(), 100 * np.arange(600), values)  # ten a second: the payments end it

    assert np.count_nonzero(found) <= 1


# ---------------------------------------------------------------------------------- by simulation


def scored(late: Flags, failed: Flags | None = None, asked: Flags | None = None, per_second: float = 20.0) -> Scored:
    """Payments in whose scores nothing is wrong but what is said."""
    n = len(late)
    failed, asked = np.zeros(n, bool) if failed is None else failed, np.ones(n, bool) if asked is None else asked
    return Scored(
        at_ms=(1_000 / per_second * np.arange(n)).astype(np.int64),
        own=np.zeros(n, bool),
        asked=asked,
        scores=np.where(failed | ~asked, np.nan, 0.1),
        denied=np.zeros(n, bool),
        champion_denied=np.zeros(n),
        took_ms=np.where(asked, np.where(late, 80.0, 0.3), np.nan),
        champion_took_ms=np.full(n, 0.3),
    )


def folded(seen: Scored) -> Gathered:
    return GUARD.fold(GUARD.begin(CANARY), seen)


def bursts(rng: np.random.Generator, n: int, share: float) -> Flags:
    """Bursts of 5 to 50 payments at any time, which are so large a share of all."""
    found = np.zeros(n, bool)
    for start in np.flatnonzero(rng.random(n) < share / 27.5):
        found[start : start + rng.integers(5, 51)] = True
    return found


@pytest.mark.parametrize("what", ["late", "failed"])
def test_bursts_of_a_healthy_challenger_halt_it_no_oftener_than_alpha(what: str) -> None:
    """Eighty phases of 20,000 payments each, with hundreds of bursts up to just below what is tolerated."""
    rng, tolerated = np.random.default_rng(20), {"late": 0.05, "failed": 0.01}[what]
    halted = 0
    for _ in range(80):
        bad = bursts(rng, 20_000, 0.9 * tolerated)
        seen = scored(bad) if what == "late" else scored(np.zeros(20_000, bool), bad)
        halted += GUARD.judge(folded(seen)).verdict is Verdict.HALT

    assert halted <= 1  # α is 1 % of phases, a ninth of it this test's


def test_five_late_payments_in_a_row_halt_nobody_and_neither_do_three_missing_scores() -> None:
    late, failed = np.zeros(2_000, bool), np.zeros(2_000, bool)
    late[200:205], failed[600:603] = True, True

    judgement = GUARD.judge(folded(scored(late, failed)))

    assert judgement.verdict is Verdict.GO_ON
    assert max(one.peak for one in judgement.findings) < 30  # of 900


@pytest.mark.parametrize("per_second", [2.0, 20.0, 400.0])
@pytest.mark.parametrize("away_s", [5, 30, 120])
def test_a_scorer_that_restarts_is_without_the_challenger_and_halts_nobody(away_s: int, per_second: float) -> None:
    n = max(4_000, int(600 * per_second))
    asked = np.ones(n, bool)
    for start_s in (60, 300):
        asked[int(start_s * per_second) : int((start_s + away_s) * per_second)] = False

    assert GUARD.judge(folded(scored(np.zeros(n, bool), asked=asked, per_second=per_second))).verdict is Verdict.GO_ON


def test_a_machine_that_is_slow_for_both_models_halts_nobody() -> None:
    slow = dataclasses.replace(scored(np.ones(5_000, bool)), champion_took_ms=np.full(5_000, 90.0))

    assert GUARD.judge(folded(slow)).verdict is Verdict.GO_ON


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("what", ["latency", "errors"])
def test_what_is_wrong_with_every_fourth_payment_or_more_halts_within_a_thousand(what: str, share: float) -> None:
    """At twenty payments a second, of forty runs all: a window that counts is one of each hundred payments."""
    rng, after_payments = np.random.default_rng(21), list[float]()
    for _ in range(40):
        bad = rng.random(1_000) < share
        seen = scored(bad) if what == "latency" else scored(np.zeros(1_000, bool), bad)
        finding = {one.name: one for one in GUARD.judge(folded(seen)).findings}[what]
        after_payments.append(100.0 * finding.alarmed_at if finding.alarmed_at else math.inf)

    assert max(after_payments) <= 1_000


def test_a_challenger_that_no_scorer_asks_is_halted_in_a_quarter_of_an_hour() -> None:
    n = 20 * 60 * 20
    finding = {
        one.name: one for one in GUARD.judge(folded(scored(np.zeros(n, bool), asked=np.zeros(n, bool)))).findings
    }

    assert finding["absences"].alarmed_at is not None
    assert 2 * finding["absences"].alarmed_at <= 16  # windows of a minute, of which every second counts
