"""When visitors come: what events have shown is expected of the next one."""

import numpy as np
import pytest

from api.pricing.curve import HOUR_MS, SIZE, Curve, Heard, Sale

OPENED_MS, HOURS = 1_790_856_000_000, 120


def coming(opened_ms: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Visitors by hour: twice as many by day, a rush at first, and another before the doors open."""
    hour = np.arange(HOURS)
    day = 1.0 + 0.5 * np.sin(2 * np.pi * ((opened_ms // HOUR_MS + hour) % 24) / 24)
    return np.asarray(100.0 * day * (1.0 + np.exp(-hour / 8.0) + 2.0 * np.exp((hour - HOURS) / 12.0)))


def learned(n_events: int) -> Curve:
    """Of events that opened one after the other, each with its own number of visitors."""
    curve = Curve.flat()
    for number in range(n_events):
        opened_ms = OPENED_MS + 7 * number * HOUR_MS
        sale, came = Sale(opened_ms, opened_ms + HOURS * HOUR_MS), 0.0
        for hour, visitors in enumerate((1.0 + number) * coming(opened_ms)):
            at_ms = opened_ms + hour * HOUR_MS
            if hour:
                heard = curve.heard(at_ms, sale, visitors, came / hour / curve.behind(at_ms, HOUR_MS, sale))
                curve = stepped(curve, [heard])
            came += visitors
    return curve


def stepped(curve: Curve, said: list[Heard]) -> Curve:
    step = curve.step(said)
    return Curve(curve.logs + step.logs, curve.known + step.known)


def expected(curve: Curve, hour: int) -> float:
    """Of an event that has sold for so many hours: visitors to come, over those that will."""
    sale, visitors = Sale(OPENED_MS, OPENED_MS + HOURS * HOUR_MS), coming(OPENED_MS)
    now_ms = OPENED_MS + hour * HOUR_MS
    level = visitors[:hour].mean() / curve.behind(now_ms, HOUR_MS, sale)
    return float(level * curve.ahead(now_ms, HOUR_MS, sale) / visitors[hour:].sum())


@pytest.mark.parametrize("hour", [12, 60, 100])
def test_what_other_events_showed_is_expected_of_the_next(hour: int) -> None:
    flat, known = expected(Curve.flat(), hour), expected(learned(8), hour)

    assert abs(known - 1.0) < 0.15
    assert abs(known - 1.0) < abs(flat - 1.0)


def test_what_many_say_at_once_is_not_heard_many_times() -> None:
    """Thirty events that all have half as many again as expected: half as many again it is, not thirty times that."""
    sale, curve = Sale(OPENED_MS, OPENED_MS + HOURS * HOUR_MS), Curve.flat()

    for hour in range(1, 25):
        at_ms = OPENED_MS + hour * HOUR_MS
        wanted = 1.5 if hour % 24 < 12 else 0.5
        curve = stepped(curve, [curve.heard(at_ms, sale, 100.0 * wanted, 100.0)] * 30)

    weights = curve.weights(OPENED_MS + HOUR_MS * np.arange(1, 25), sale)
    assert weights.max() < 2.0 and weights.min() > 0.3


def test_before_anything_is_known_all_intervals_weigh_alike() -> None:
    sale = Sale(OPENED_MS, OPENED_MS + HOURS * HOUR_MS)

    assert Curve.flat().ahead(OPENED_MS, HOUR_MS, sale) == pytest.approx(HOURS)
    assert Curve.flat().ahead(OPENED_MS + 119 * HOUR_MS + 1, HOUR_MS, sale) == pytest.approx(1.0)


def test_a_long_sale_is_looked_at_evenly() -> None:
    sale = Sale(OPENED_MS, OPENED_MS + 9_000 * HOUR_MS)

    assert Curve.flat().ahead(OPENED_MS, HOUR_MS, sale) == pytest.approx(9_000)
    assert Curve.flat().logs.shape == (SIZE,)
