"""The maturity curve, against a count by hand and against a world whose delays are known."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts.events import Label, LabelSource
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.maturity import ANY, MIN_AT_RISK, MIN_COVERED, SCHEMA, maturity_of, product_limit
from fraud_assets.labels.statements import frame
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.streaming.events import T0, label

OLD = 200 * DAY_MS


def many(delays: dict[int, int], age: int = 200) -> tuple[np.ndarray, np.ndarray]:
    delay = np.repeat(list(delays), list(delays.values())).astype(np.int64)
    return delay, np.full(len(delay), age, np.int64)


def test_of_payments_that_are_old_enough_the_curve_is_a_count() -> None:
    curve = product_limit(*many({1: 50, 3: 30, 10: 20}))

    assert curve.frauds == 100
    assert [curve.known_after(days) for days in (0, 1, 2, 3, 9, 10, 120, 500)] == pytest.approx(
        [0, 0.5, 0.5, 0.8, 0.8, 1, 1, 1]
    )
    assert [curve.days_until(share) for share in (0.5, 0.8, 0.95)] == [1, 3, 10]


def test_a_truncated_cohort_tells_of_its_own_days_only_by_hand() -> None:
    """Old payments: 60 known on day 1, 40 on day 2. Young ones, a day old: 100 known on day 1, and no day 2 yet.

    Of day 2 only the old can tell: 40 of 100 came then. So 0.6 were known after a day, and not the 160 of 200 that a count gives.
    """
    old, young = many({1: 60, 2: 40}), many({1: 100}, age=1)

    delay, age = (np.concatenate([old[side], young[side]]) for side in (0, 1))

    curve = product_limit(delay, age, horizon_days=2)

    assert curve.share.tolist() == pytest.approx([0.0, 0.6, 1.0])
    assert curve.became_known.tolist() == [0, 160, 40]
    assert curve.at_risk.tolist() == [0, 160, 100]


def test_a_world_of_known_delays_is_recovered_where_a_count_is_wrong() -> None:
    rng = np.random.default_rng(4)
    age = rng.integers(0, 40, 20_000)
    delay = rng.geometric(0.15, 20_000)
    known = delay <= age
    truth = 1 - 0.85 ** np.arange(31)

    curve = product_limit(delay[known], age[known], horizon_days=30)

    counted = (delay[known] <= 5).mean()
    assert np.abs(curve.share - truth / truth[30]).max() < 0.02
    assert counted > truth[5] / truth[30] + 0.05


def test_what_became_known_on_a_day_that_is_not_over_is_left_out() -> None:
    """Those that will become known later on the same day are not there either."""
    curve = product_limit(np.full(50, 4), np.full(50, 3))

    assert curve.frauds == 0
    assert curve.known_after(7) is None
    assert curve.days_until(0.5) is None


def test_a_day_of_which_few_can_tell_ends_the_curve() -> None:
    curve = product_limit(*many({1: 40, 60: 1}), horizon_days=120)
    young = product_limit(*many({1: MIN_AT_RISK - 1}))

    assert len(curve.share) == 121
    assert len(young.share) == 0


@given(st.lists(st.tuples(st.integers(0, 130), st.integers(0, 130)), max_size=300))
def test_a_curve_rises_from_nothing_to_one(pairs: list[tuple[int, int]]) -> None:
    delay, age = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))

    curve = product_limit(delay, age)

    assert len(curve.share) == len(curve.at_risk) == len(curve.became_known)
    if len(curve.share):
        assert (np.diff(curve.share) >= 0).all()
        assert curve.share[-1] == 1
        assert curve.share[0] >= 0


def said(source: LabelSource, days: dict[int, int], *, is_fraud: bool = True, revision: int = 0) -> list[Label]:
    """Labels of one source, so many of them so many days after their payments, all of which were made at T0."""
    delays = [day for day, count in days.items() for _ in range(count)]
    return [
        label(
            label_id=f"{source}-{revision}-{n}", transaction_id=f"t{n}", source=source, is_fraud=is_fraud,
            revision=revision, event_time_ms=T0 + day * DAY_MS,
        )
        for n, day in enumerate(delays)
    ]  # fmt: skip


def statements(labels: list[Label]) -> pl.DataFrame:
    at = [LogPosition(one.event_time_ms, "labels.v1", 0, place) for place, one in enumerate(labels)]
    return frame(from_events(Label, labels, at))


def paid(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"account_id": ["a1"] * count, "transaction_id": [f"t{n}" for n in range(count)], "event_time_ms": [T0] * count}
    )


def test_each_source_has_its_curve_and_the_first_to_speak_counts_for_all() -> None:
    labels = said(LabelSource.CHARGEBACK, {20: 100}) + said(LabelSource.OPERATOR, {2: 40})

    found = maturity_of(statements(labels), paid(100), T0 + OLD, delay_days=7)

    assert list(found.curves) == [ANY, "chargeback", "operator"]
    assert [found.curves[name].frauds for name in found.curves] == [100, 100, 40]
    assert found.curves["operator"].days_until(0.95) == 2
    assert found.curves["chargeback"].known_after(19) == 0
    assert found.covered == pytest.approx(0.4)
    assert not found.is_covered
    assert found.curves[ANY].days_until(MIN_COVERED) == 20


def test_a_fraud_that_was_taken_back_is_none() -> None:
    labels = said(LabelSource.CHARGEBACK, {3: 80}) + said(LabelSource.CHARGEBACK, {9: 40}, is_fraud=False, revision=1)

    found = maturity_of(statements(labels), paid(80), T0 + OLD, delay_days=7)

    assert found.curves[ANY].frauds == 40
    assert found.is_covered


def test_labels_of_unknown_payments_have_no_delay() -> None:
    found = maturity_of(statements(said(LabelSource.OPERATOR, {1: 60})), paid(50), T0 + OLD, delay_days=7)

    assert found.curves[ANY].frauds == 50


def test_few_frauds_are_not_judged() -> None:
    found = maturity_of(statements(said(LabelSource.OPERATOR, {30: 5})), paid(5), T0 + OLD, delay_days=7)

    assert found.covered is None
    assert found.is_covered
    assert found.table().num_rows == 0
    assert found.table().schema == SCHEMA


def test_the_table_holds_every_day_of_every_curve() -> None:
    found = maturity_of(statements(said(LabelSource.OPERATOR, {1: 60})), paid(60), T0 + OLD, delay_days=7)

    rows = frame(found.table())

    assert rows["source"].unique().sort().to_list() == [ANY, "operator"]
    assert rows.filter(pl.col("source") == ANY)["days"].to_list() == list(range(121))
