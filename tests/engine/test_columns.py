"""Events to int64: nothing is rounded, and what no aggregate can take is refused by name."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import (
    BadValue,
    Columns,
    columns_from_events,
    entity_key,
    evaluate,
    hash64,
    hash_column,
    rows_of,
)
from fraud_assets.features.expressions import Expr, col
from fraud_assets.features.registry import UnknownFeature
from fraud_assets.features.sources import MAX_VALUE, Entity
from tests.domains.deals import ACTOR, DEALS, PAIR, PLACE, Deal, Flavour
from tests.domains.every_op import make_registry
from tests.parity import oracle
from tests.parity.executions import ANY_DEAL


@pytest.fixture(scope="module")
def plan() -> EnginePlan:
    return EnginePlan(make_registry())


def columns(plan: EnginePlan, *events: Deal) -> Columns:
    positions: Sequence[tuple[str, int, int]] = [("deals.v1", 0, offset) for offset in range(len(events))]
    return columns_from_events(plan, DEALS, events, positions, [0] * len(events))


def deal(**changes: object) -> Deal:
    return msgspec.structs.replace(ANY_DEAL, **changes)


@pytest.mark.parametrize("value", [1.0, 1.5, float("nan"), "1", MAX_VALUE + 1, -MAX_VALUE - 1, 2**63, -(2**63), 2**100])
def test_what_no_aggregate_can_take_is_refused_by_name(plan: EnginePlan, value: object) -> None:
    """A float would be cut to an integer, -2**63 would be taken for null, 2**63 would wrap."""
    with pytest.raises(BadValue, match=r"BadValue: deals\.size is .*; it takes integers within ±4398046511104"):
        columns(plan, deal(size=value))


def test_values_at_the_bounds_are_taken(plan: EnginePlan) -> None:
    found = columns(plan, deal(size=MAX_VALUE), deal(size=-MAX_VALUE), deal(extra=None))
    assert found.fields["size"].tolist() == [MAX_VALUE, -MAX_VALUE, 0]
    assert found.fields["extra"].tolist() == [NULL, NULL, NULL]


def test_categories_are_coded_by_lexical_rank_from_one(plan: EnginePlan) -> None:
    """bitter, salty, sour, sweet, umami: whatever the order of declaration. Null is null."""
    found = columns(plan, *(deal(flavour=flavour, mood=None) for flavour in sorted(Flavour)))
    assert found.fields["flavour"].tolist() == [1, 2, 3, 4, 5]
    assert set(found.fields["mood"].tolist()) == {NULL}


def test_a_value_outside_its_vocabulary_is_refused(plan: EnginePlan) -> None:
    with pytest.raises(BadValue, match=r"deals\.flavour is 'spicy'; known: bitter, salty"):
        columns(plan, deal(flavour="spicy"))


def test_identifiers_are_hashed_as_in_every_other_process(plan: EnginePlan) -> None:
    """Not Python's hash, which is seeded: states are shared between machines."""
    assert hash64("a0") == oracle.hash63("a0") == 3_700_290_289_752_400_116
    assert columns(plan, deal(actor_id="a0")).fields["actor_id"].tolist() == [hash64("a0")]
    assert hash_column(["a0", None, "é", "a0"]).tolist() == [hash64("a0"), NULL, oracle.hash63("é"), hash64("a0")]


def test_an_event_of_a_topic_nobody_declared_is_refused(plan: EnginePlan) -> None:
    with pytest.raises(UnknownFeature, match=r"no source reads topic 'other\.v1'\. Known: .*deals\.v1"):
        columns_from_events(plan, DEALS, [ANY_DEAL], [("other.v1", 0, 0)], [0])


EXPRESSIONS: list[Expr] = [
    col("size") + col("extra"), col("size") - col("extra"), col("size") * 3, col("size") // col("extra"), col("size") % col("extra"),
    col("extra") // col("size"), col("extra") % col("size"),
    col("size") == col("extra"), col("size") != col("extra"), col("size") < col("extra"), col("size") >= 0, col("size") <= -7,
    col("flavour") == "sweet", col("flavour") < "sweet", col("flavour").is_in("umami", "salty"), col("mood") != "sweet",
    col("place_id") == "p0", col("place_id") != "p0",
    (col("flag") == True) & (col("size") > 1), (col("size") > 1) | (col("extra") > 1),  # noqa: E712  # a tree, not a truth value
    col("extra").or_else(col("size")), col("extra").or_else(9), (col("extra") // col("size")).or_else(col("extra") + 1),
    col("place_id").or_else(col("actor_id")), col("place_id").or_else(col("actor_id")).or_else(col("deal_id")),
    col("place_id").or_else(col("actor_id")) == col("place_id"),
]  # fmt: skip


@pytest.mark.parametrize("tree", EXPRESSIONS, ids=repr)
def test_an_expression_over_columns_is_the_oracles_over_each_event(plan: EnginePlan, tree: Expr) -> None:
    """Nulls, zero divisors and negative operands included."""
    events = [
        deal(size=size, extra=extra, place_id=place, flavour=flavour, mood=mood, flag=size > 0)
        for size in (-7, -1, 0, 5)
        for extra in (None, -2, -1, 0, 5)
        for place, flavour, mood in ((None, "sweet", None), ("p0", "umami", "sweet"), ("p1", "bitter", "sour"))
    ]
    found = evaluate(tree, columns(plan, *events)).tolist()
    assert [None if value == NULL else value for value in found] == [
        oracle.evaluate(tree, event, DEALS) for event in events
    ]


def test_a_row_leaves_other_sources_inputs_null(plan: EnginePlan) -> None:
    group = plan.group("actor")
    (row,) = rows_of(plan, group, columns(plan, deal(size=5)))
    of_others = np.array([item.source.name != "deals" for item in group.inputs])
    assert (row[6:][of_others] == NULL).all() and of_others.any()
    assert row[0] == 0 and row[2] == 0 and row[4] == hash64("d")


def test_the_payload_hash_tells_events_apart_by_any_field(plan: EnginePlan) -> None:
    found = columns(plan, deal(), deal(size=1), deal(mood="sweet"), deal(flag=True), deal(place_id="p"), deal())
    hashes = found.payload().tolist()
    assert len(set(hashes)) == 5 and hashes[0] == hashes[-1]
    assert hashes[1] == oracle.version_of(deal(size=1), DEALS)[2]


def test_an_event_that_does_not_name_the_entity_has_no_key(plan: EnginePlan) -> None:
    nameless = deal(place_id=None)
    assert entity_key(PLACE, nameless) is None and entity_key(PAIR, nameless) is None
    assert entity_key(ACTOR, nameless) == "a"
    assert columns(plan, nameless).keys(PAIR).tolist() == [NULL]


def test_a_key_may_hold_numbers_and_categories(plan: EnginePlan) -> None:
    """A pair of a card and a category, or of a place and a size, is a pair."""
    assert entity_key(Entity("taste", ("actor_id", "flavour")), deal(flavour=Flavour.SOUR)) == "a|sour"
    assert entity_key(Entity("fit", ("actor_id", "size")), deal(size=-5)) == "a|-5"


def test_a_pairs_hash_depends_on_which_key_is_which(plan: EnginePlan) -> None:
    found = columns(plan, deal(actor_id="x", place_id="y"), deal(actor_id="y", place_id="x"))
    one, other = found.keys(PAIR).tolist()
    assert one != other
