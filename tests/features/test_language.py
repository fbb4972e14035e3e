"""Declarations: derived names, and wrong ones refused when declared, with the feature and the way out."""

import re

import pytest

from fraud_assets.features.expressions import col, cosine, sine
from fraud_assets.features.language import (
    Aggregate,
    BadFeature,
    FeatureService,
    FeatureView,
    Op,
    RequestFeature,
    count,
    distinct,
    first_seen_age,
    last,
    least,
    mean,
    mode,
    most,
    profile,
    profile_age,
    ratio,
    since_last,
    std,
    total,
)
from fraud_assets.features.layout import unit_of
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import BadSource, Entity, LabelFactSource, StreamSource
from fraud_assets.features.windows import LIFETIME, MINUTE_MS, days, hours, minutes
from tests.domains.orders import AMOUNT, CARD, HOLDERS, ORDERS, RULINGS, SHOP, Order, Ruling, view_of

HOUR = (hours(1),)
PAID = col("outcome") == "paid"


@pytest.mark.parametrize(
    ("aggregate", "name"),
    [
        (count(windows=HOUR), "card_order_count_1h"),
        (count(where=PAID, label="paid", windows=HOUR), "card_paid_count_1h"),
        (total(AMOUNT, windows=(days(1),)), "card_amount_minor_sum_24h"),
        (mean(AMOUNT, windows=(LIFETIME,)), "card_amount_minor_mean_lifetime"),
        (std(AMOUNT, windows=HOUR), "card_amount_minor_std_1h"),
        (least(AMOUNT, windows=HOUR), "card_amount_minor_min_1h"),
        (most(AMOUNT, windows=HOUR), "card_amount_minor_max_1h"),
        (distinct(col("shop_id"), windows=HOUR), "card_distinct_shops_1h"),
        (distinct(col("outcome"), windows=HOUR), "card_distinct_outcomes_1h"),
        (mode(col("outcome"), windows=HOUR), "card_outcome_mode_1h"),
        (last(AMOUNT), "card_last_amount_minor"),
        (first_seen_age(), "card_first_seen_age_s"),
        (since_last(where=PAID, label="paid"), "card_seconds_since_last_paid"),
        (since_last(), "card_seconds_since_last_order"),
        (ratio(count(where=PAID, label="paid", windows=HOUR), count(windows=HOUR), label="paid"), "card_paid_ratio_1h"),
        (count(windows=HOUR).over(SHOP), "shop_order_count_1h"),
        (count(windows=(minutes(5),), name="busy_{window}"), "busy_5m"),
        (count(windows=HOUR).named("bursts"), "bursts"),
    ],
)
def test_names_are_derived_from_entity_column_operation_and_window(aggregate: Aggregate, name: str) -> None:
    view = view_of(aggregate)
    assert [spec.name for entity in view.entities for spec in unit_of(view, entity).features if not spec.hidden] == [
        name
    ]


def test_profile_names_say_the_attribute() -> None:
    view = view_of(
        profile(col("since_ms"), label="member_since"), profile_age(col("since_ms"), label="member"), source=HOLDERS
    )
    assert [spec.name for spec in unit_of(view, CARD).features] == ["card_member_since", "card_member_age_s"]


WRONG = [
    ("no source", lambda: view_of(count(windows=HOUR), source=None), "count has no source. Give the view source="),
    ("entity not in the source", lambda: view_of(count(windows=HOUR, source=RULINGS).over(SHOP)), "carry no shop_id, so they cannot be told by shop"),
    ("no column", lambda: view_of(Aggregate(op=Op.SUM, windows=HOUR)), r"sum needs a column: sum(col('…'))"),
    ("cap too large", lambda: view_of(distinct(col("shop_id"), windows=HOUR, cap=65)), "cap 65 is outside 2..64"),
    ("cap too small", lambda: view_of(distinct(col("shop_id"), windows=HOUR, cap=1)), "cap 1 is outside 2..64"),
    ("no window", lambda: view_of(count(windows=())), "needs at least one window"),
    ("a window twice", lambda: view_of(count(windows=(days(1), hours(24)))), "at least one window, each once"),
    ("a window where there is none", lambda: view_of(Aggregate(op=Op.LAST, of=AMOUNT, windows=HOUR)), "last has no window; leave windows out"),
    ("max of signed facts", lambda: view_of(most(AMOUNT, windows=HOUR), source=RULINGS), "max cannot take a fact back. Over signed facts of rulings use count, sum or mean"),
    ("profile of a stream", lambda: view_of(profile(AMOUNT)), "go with a ProfileSource"),
    ("count of profiles", lambda: view_of(count(windows=HOUR), source=HOLDERS), "go with a ProfileSource"),
    ("profiles beside windows", lambda: view_of(count(windows=HOUR), Aggregate(op=Op.PROFILE, of=col("since_ms"), windows=(LIFETIME,), source=HOLDERS)), "Give the profile a view of its own"),
    ("unknown field", lambda: view_of(total(col("amount"), windows=HOUR)), "orders has no field 'amount'. Fields: event_time_ms, order_id"),
    ("unknown field in a filter", lambda: view_of(count(where=col("paid") == 1, windows=HOUR)), "orders has no field 'paid'"),
    ("a field no engine reads", lambda: view_of(distinct(col("tags"), windows=HOUR)), "has no field 'tags'"),
    ("misspelt category", lambda: view_of(count(where=col("outcome") == "payed", windows=HOUR)), "'payed' is not a value of outcome. Known: declined, paid"),
    ("text against a number", lambda: view_of(count(where=AMOUNT == "1", windows=HOUR)), "amount_minor is int; it cannot be compared with the text '1'"),
    ("text alone", lambda: view_of(count(where=(AMOUNT + "x") > 1, windows=HOUR)), "the text 'x' can only be compared with a field"),
    ("order of identifiers", lambda: view_of(count(where=col("card_id") < "c", windows=HOUR)), "compare it with == or != only"),
    ("identifier against a number", lambda: view_of(count(where=col("card_id") == 5, windows=HOUR)), "card_id is an identifier"),
    ("arithmetic on identifiers", lambda: view_of(last(col("card_id") * 2, label="x")), "card_id is an identifier"),
    ("sum of identifiers", lambda: view_of(total(col("card_id"), windows=HOUR)), "would take hashes of identifiers for numbers. Use distinct(…)"),
    ("a filter that is a number", lambda: view_of(count(where=AMOUNT, windows=HOUR)), "where= takes a condition"),
    ("& without parentheses", lambda: view_of(count(where=(AMOUNT & 3) == 1, windows=HOUR)), "both sides of & must be conditions"),
    ("a number beyond bounds", lambda: view_of(count(where=AMOUNT > 2**70, windows=HOUR)), "is beyond ±4398046511104; check its unit"),
    ("a product that overflows", lambda: view_of(most(AMOUNT * AMOUNT, windows=HOUR, label="square")), "could reach 1.0e+24 and overflow"),
    ("a sum that overflows", lambda: view_of(total(AMOUNT * 1000, windows=HOUR, label="milli")), "its sum could overflow. Divide the expression"),
    ("mode of a number", lambda: view_of(mode(AMOUNT, windows=HOUR)), "mode takes a category"),
    ("distinct of an expression", lambda: view_of(distinct(AMOUNT + 1, windows=HOUR, label="x")), "distinct takes a field, or identifiers that stand in for each other"),
    ("a number for an identifier", lambda: view_of(distinct(col("card_id").or_else(AMOUNT), windows=HOUR, label="x")), "two numbers or two identifiers, not one of each"),
    ("a category with a stand-in", lambda: view_of(last(col("outcome").or_else(0), label="x")), "outcome is a category, whose codes mean nothing"),
    ("a stand-in for a stand-in", lambda: view_of(distinct(col("card_id").or_else(col("shop_id").or_else(col("order_id"))), windows=HOUR, label="x")), "write a.or_else(b).or_else(c)"),
    ("a text that stands in", lambda: view_of(distinct(col("card_id").or_else("nobody"), windows=HOUR, label="x")), "the text 'nobody' can only be compared"),
    ("the sine of an identifier", lambda: view_of(total(sine(col("card_id")), windows=HOUR, label="x")), "sine takes an angle in microdegrees, and card_id is no number"),
    ("the cosine of a category", lambda: view_of(total(cosine(col("outcome")), windows=HOUR, label="x")), "cosine takes an angle in microdegrees, and outcome is no number"),
    ("the sine of a condition", lambda: view_of(total(sine(AMOUNT > 1), windows=HOUR, label="x")), "is no number"),
    ("the sine of an unknown field", lambda: view_of(total(sine(col("angle")), windows=HOUR, label="x")), "orders has no field 'angle'"),
    ("a sum that a division does not save", lambda: view_of(total(AMOUNT * 1000 // 100, windows=HOUR, label="deci")), "its sum could overflow. Divide the expression"),
    ("largest of joined identifiers", lambda: view_of(most(col("card_id").or_else(col("shop_id")), windows=HOUR, label="x")), "would take hashes of identifiers for numbers"),
    ("a number against joined identifiers", lambda: view_of(count(where=col("card_id").or_else(col("shop_id")) == 5, windows=HOUR)), "is an identifier, known by its hash"),
    ("an expression without a label", lambda: unit_of(view_of(total(AMOUNT - 1, windows=HOUR)), CARD), "sum of an expression needs a label for its name"),
    ("ratio of ratios", lambda: view_of(ratio(ratio(count(windows=HOUR), count(windows=HOUR), label="a"), count(windows=HOUR), label="b")), "a ratio of ratios is a request feature"),
    ("ratio without denominator", lambda: view_of(ratio(count(windows=HOUR), label="a")), "needs a numerator and at least one denominator"),
    ("ratio over three", lambda: view_of(ratio(*[count(windows=HOUR)] * 4, label="a")), "at most 2 denominators"),
    ("ratio across entities", lambda: view_of(ratio(count(windows=HOUR), count(windows=HOUR).over(SHOP), label="a")), "across entities declare a request feature"),
    ("ratio of other windows", lambda: view_of(ratio(count(windows=HOUR), count(windows=(hours(1), hours(2), hours(3))), label="a", windows=(hours(1), hours(2)))), "the ratio has 2 windows and count has 3"),
    ("private parts of one name", lambda: unit_of(view_of(*(ratio(count(where=n < AMOUNT, label="big", windows=HOUR), count(windows=HOUR), label=f"r{n}") for n in (1, 2))), CARD), "both named card_big_count_1h; give one a label"),
    ("two of one name", lambda: unit_of(view_of(count(windows=HOUR), count(where=PAID, windows=HOUR)), CARD), "two aggregates are both named card_order_count_1h; give one a label"),
    ("a name that is none", lambda: view_of(count(windows=HOUR), name="card orders"), "'card orders' is no identifier"),
    ("an empty view", view_of, "card_orders has no aggregates"),
    ("too little lateness", lambda: view_of(count(windows=HOUR), lateness_ms=599_999), "lateness_ms 599999 is below 600000 (10 minutes)"),
    ("no time to live", lambda: view_of(count(windows=HOUR), ttl_ms=0), "ttl_ms must be positive, or None for never stale"),
    ("retention below ttl", lambda: view_of(count(windows=HOUR), ttl_ms=2 * MINUTE_MS, retention_ms=MINUTE_MS), "retention_ms is shorter than ttl_ms"),
]  # fmt: skip


@pytest.mark.parametrize(("declare", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_declaration_fails_when_declared_and_says_the_fix(declare: object, message: str) -> None:
    """Every message begins with the view's name and ends with what to write instead."""
    assert callable(declare)
    with pytest.raises(BadFeature, match=re.escape(message)) as refused:
        declare()
    assert str(refused.value).startswith("BadFeature: ")
    assert any(
        noun in str(refused.value)
        for noun in ("card_orders", "card_big_count_1h", "card orders", "sum of an expression")
    )


def test_what_is_divided_enough_can_be_summed() -> None:
    """The way out that the refusal of a large sum names."""
    view = view_of(
        total(AMOUNT * 1000 // 1000, windows=HOUR, label="same"), total(sine(AMOUNT), windows=HOUR, label="up")
    )

    assert len(unit_of(view, CARD).features) == 2


def test_an_expression_has_no_truth_value_when_declared() -> None:
    """`a and b` would silently drop a; the error says what to write."""
    with pytest.raises(TypeError, match=r"Write & and \| instead of `and` and `or`"):
        _ = (AMOUNT > 1) and (AMOUNT < 5)


@pytest.mark.parametrize("value", [1.5, None, b"x", [1]])
def test_expressions_take_integers_texts_and_each_other(value: object) -> None:
    with pytest.raises(TypeError, match="Expressions take int, bool, str"):
        _ = AMOUNT + value


def test_is_in_needs_a_value() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        col("outcome").is_in()


def plus_one(value: float) -> float:
    return value + 1.0


def test_a_request_feature_names_as_many_inputs_as_its_function_takes() -> None:
    with pytest.raises(BadFeature, match="tip: the function takes 1 arguments and 2 inputs are named"):
        RequestFeature(name="tip", compute=plus_one, inputs=("request.tip_minor", "request.amount_minor"))


def test_a_lambda_is_refused_for_it_has_no_source_text_of_its_own() -> None:
    with pytest.raises(BadFeature, match="tip: a lambda has no source text"):
        RequestFeature(name="tip", compute=lambda value: value, inputs=("request.tip_minor",))


def test_a_service_reads_only_what_is_known_at_the_decision(card_orders: FeatureView) -> None:
    """`unseen` fields of the scored event, and fields it has not, are refused by name."""
    for field in ("outcome", "amount"):
        item = RequestFeature(name="leak", compute=plus_one, inputs=(f"request.{field}",))
        with pytest.raises(
            BadFeature, match=f"leak: the scored event offers no '{field}' at decision time. Known: event_time_ms"
        ):
            FeatureService(name="scoring", scored=ORDERS, views=(card_orders,), request=(item,), unseen=("outcome",))


def test_a_service_reads_only_entities_its_event_names() -> None:
    view = view_of(count(windows=HOUR).over(SHOP), name="shop_orders")
    with pytest.raises(BadFeature, match="scoring: shop_orders is about shop, but rulings carries no shop_id"):
        FeatureService(name="scoring", scored=RULINGS, views=(view,))


def test_a_request_feature_reads_features_that_exist_and_come_before_it(card_orders: FeatureView) -> None:
    item = RequestFeature(name="more", compute=plus_one, inputs=("card_order_count_2h",))
    service = FeatureService(name="scoring", scored=ORDERS, views=(card_orders,), request=(item,))
    with pytest.raises(BadFeature, match=r"more reads 'card_order_count_2h'.* Did you mean card_order_count_1h"):
        Registry((card_orders,), (service,))


def test_a_name_declared_by_two_views_is_refused(card_orders: FeatureView) -> None:
    other = view_of(count(windows=HOUR), name="also_card_orders")
    with pytest.raises(BadFeature, match=r"is declared by card_orders and by also_card_orders\. Give one a label"):
        Registry((card_orders, other))


SOURCES_WRONG = [
    ("no such id", lambda: StreamSource(name="s", noun="n", contract=Order, id_field="id", table="t", topic="t.v1"), "s has no field 'id'. Fields of Order: event_time_ms"),
    ("no topic", lambda: StreamSource(name="s", noun="n", contract=Order, id_field="order_id", table="t"), "stream source s needs a topic. For files alone declare a BatchSource"),
    ("sign of another kind", lambda: LabelFactSource(name="s", noun="n", contract=Ruling, id_field="ruling_id", table="t", sign_field="is_fraud"), "s needs 'is_fraud', an int that is never null"),
    ("no such sign", lambda: LabelFactSource(name="s", noun="n", contract=Order, id_field="order_id", table="t"), "For facts that nobody takes back write sign_field=None"),
    ("a nameless entity", lambda: Entity("", ("card_id",)), "needs an identifier and at least one key field"),
    ("a keyless entity", lambda: Entity("card", ()), "needs an identifier and at least one key field"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("declare", "message"), [case[1:] for case in SOURCES_WRONG], ids=[case[0] for case in SOURCES_WRONG]
)
def test_a_wrong_source_fails_when_declared_and_says_the_fix(declare: object, message: str) -> None:
    assert callable(declare)
    with pytest.raises(BadSource, match=re.escape(message)):
        declare()
