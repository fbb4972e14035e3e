"""What a view keeps: shared accumulators, and the bound on its state."""

from dataclasses import replace

import pytest

from fraud_assets.features.expressions import col
from fraud_assets.features.language import BadFeature, FeatureView, count, distinct, mean, ratio, since_last, std, total
from fraud_assets.features.layout import MAX_STATE_BYTES, Acc, segments_of, unit_of
from fraud_assets.features.registry import Registry
from fraud_assets.features.windows import HOUR_MS, VELOCITY, days, hours, minutes
from tests.domains.orders import AMOUNT, CARD, view_of

HOUR = (hours(1),)


def accumulators(*aggregates: object) -> list[list[Acc]]:
    return [[spec.acc for spec in specs.values()] for specs in unit_of(view_of(*aggregates), CARD).windows.values()]


def test_aggregates_share_the_accumulators_they_have_in_common() -> None:
    """Count, sum, mean and std of one column are three accumulators, not seven."""
    assert accumulators(
        count(windows=HOUR), total(AMOUNT, windows=HOUR), mean(AMOUNT, windows=HOUR), std(AMOUNT, windows=HOUR)
    ) == [[Acc.COUNT, Acc.SUM, Acc.SQUARES]]


def test_another_filter_or_nullable_column_has_accumulators_of_its_own() -> None:
    """The count under a mean of tips counts the orders that have a tip."""
    assert accumulators(count(windows=HOUR), mean(col("tip_minor"), windows=HOUR)) == [[Acc.COUNT, Acc.COUNT, Acc.SUM]]
    assert accumulators(count(windows=HOUR), count(where=AMOUNT > 5, label="big", windows=HOUR)) == [
        [Acc.COUNT, Acc.COUNT]
    ]


def test_a_mean_of_a_quotient_counts_only_where_it_is_defined() -> None:
    """a // 0 is null though neither field is nullable."""
    quotient = AMOUNT // col("rate")
    assert accumulators(count(windows=HOUR), mean(quotient, windows=HOUR, label="q")) == [
        [Acc.COUNT, Acc.COUNT, Acc.SUM]
    ]


def test_a_ratio_reuses_what_the_view_computes_already() -> None:
    counted = count(windows=HOUR)
    unit = unit_of(
        view_of(counted, ratio(count(where=AMOUNT > 5, label="big", windows=HOUR), counted, label="big")), CARD
    )
    assert [(spec.name, spec.hidden) for spec in unit.outs] == [
        ("card_order_count_1h", False),
        ("_card_big_count_1h", True),
    ]


def test_a_view_that_could_outgrow_64_kib_is_refused_when_declared() -> None:
    """The message says how large it could get and what to take away."""
    greedy = view_of(*(distinct(col(name), windows=VELOCITY, cap=64) for name in ("shop_id", "outcome")))
    with pytest.raises(
        BadFeature,
        match=r"card_orders: its state of one card could reach [\d,]+ bytes, over 65,536\. Take fewer windows",
    ):
        Registry((greedy,))


def test_views_that_see_the_same_events_share_their_windows() -> None:
    """Same sources and lateness: one window of each length for both. Another lateness has tiles of its own."""
    orders = view_of(count(windows=HOUR), total(AMOUNT, windows=(hours(1), days(1))))
    shops = view_of(count(windows=HOUR), distinct(col("shop_id"), windows=HOUR))
    late = view_of(count(windows=HOUR), lateness_ms=HOUR_MS)

    together, alone = segments_of(unit_of(view, CARD) for view in (orders, shops, late))

    assert [[spec.acc for spec in specs.values()] for specs in together.windows.values()] == [
        [Acc.COUNT, Acc.SUM, Acc.DISTINCT],
        [Acc.SUM],
    ]
    assert [unit.view for unit in alone.units] == [late]


def test_views_whose_shared_window_could_outgrow_its_lengths_are_refused_together() -> None:
    """Each is within its own bound; the message names all that share the window."""

    def greedy(number: int) -> FeatureView:
        values = distinct(
            col("shop_id"), windows=(hours(1),), where=col("amount_minor") > number, label=f"over_{number}", cap=64
        )
        return replace(view_of(values), name=f"view_{number}")

    with pytest.raises(
        BadFeature, match=r"view_0, .*view_499: their window of 1h of one card could reach 1\d,\d{3},\d{3} bytes"
    ):
        Registry(tuple(greedy(number) for number in range(500)))


def test_lateness_weighs_most_in_short_windows() -> None:
    """An hour of lateness in a minute's window is sixty minutes of one-second tiles."""
    within = unit_of(view_of(count(windows=(minutes(1),))), CARD).worst_bytes
    late = unit_of(view_of(count(windows=(minutes(1),)), lateness_ms=HOUR_MS), CARD).worst_bytes
    assert within < 10_000 < late


def test_windows_without_end_and_long_ones_are_small() -> None:
    assert unit_of(view_of(since_last()), CARD).worst_bytes < 100
    assert unit_of(view_of(total(AMOUNT, windows=(days(365),))), CARD).worst_bytes < 2_000 < MAX_STATE_BYTES
