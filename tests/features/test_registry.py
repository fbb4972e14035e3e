"""The registry: names, groups, sources, and what it says of unknown ones."""

import dataclasses

import pytest

from fraud_assets.features.language import (
    BadFeature,
    FeatureService,
    FeatureView,
    RequestFeature,
    count,
    first_seen_age,
)
from fraud_assets.features.registry import Registry, UnknownFeature
from fraud_assets.features.windows import DAY_MS, hours
from tests.domains.orders import ORDERS, RULINGS, SHOP, view_of

HOUR = (hours(1),)


def double(value: float) -> float:
    return 2.0 * value


@pytest.fixture
def registry(card_orders: FeatureView) -> Registry:
    hidden = RequestFeature(name="working", compute=double, inputs=("card_order_count_1h",), hidden=True)
    seen = RequestFeature(name="quadruple", compute=double, inputs=("working",))
    shops = view_of(count(windows=HOUR).over(SHOP), name="shop_orders", ttl_ms=DAY_MS, owner="market")
    service = FeatureService(name="scoring", scored=ORDERS, views=(shops, card_orders), request=(hidden, seen))
    return Registry((card_orders, shops), (service,))


def test_a_vector_has_its_columns_in_the_services_order_without_hidden_ones(registry: Registry) -> None:
    """Views as the service lists them, then request features; a model's columns never move by themselves."""
    names = registry.feature_names(registry.service("scoring"))
    assert names == (
        "shop_order_count_1h",
        "card_order_count_5m",
        "card_order_count_1h",
        "card_amount_minor_mean_1h",
        "quadruple",
    )


def test_what_is_listed_says_entity_window_ttl_owner_and_digest(registry: Registry) -> None:
    found = {info.name: info for info in registry.features(registry.service("scoring"))}
    shop, request = found["shop_order_count_1h"], found["quadruple"]
    assert (shop.entity, shop.window, shop.ttl_ms, shop.owner, shop.view) == (
        "shop",
        "1h",
        DAY_MS,
        "market",
        "shop_orders",
    )
    assert (request.entity, request.window, request.ttl_ms) == ("request", "-", None)
    assert found["working"].hidden and shop.digest != request.digest


def test_unknown_names_are_answered_with_what_is_near(registry: Registry) -> None:
    with pytest.raises(UnknownFeature, match=r"view 'card_order'\. Did you mean card_orders"):
        registry.view("card_order")
    with pytest.raises(UnknownFeature, match=r"service 'x'\. Known: scoring\."):
        registry.service("x")
    with pytest.raises(UnknownFeature, match=r"no view is about 'device'\. Known entities: card, shop\."):
        registry.group("device")


def test_views_about_one_entity_share_a_state(registry: Registry) -> None:
    assert {group.name: [unit.view.name for unit in group.units] for group in registry.groups} == {
        "card": ["card_orders"],
        "shop": ["shop_orders"],
    }


def test_a_group_expires_only_if_every_view_allows_it_and_none_has_a_lifetime(card_orders: FeatureView) -> None:
    """The store may never collect a state whose windows have no end."""
    kept = view_of(count(windows=HOUR), name="kept", retention_ms=DAY_MS)
    forever = view_of(first_seen_age(), name="forever", retention_ms=DAY_MS)
    assert Registry((kept,)).group("card").expires
    assert not Registry((card_orders,)).group("card").expires
    assert not Registry((kept, forever)).group("card").expires


def test_two_views_of_one_name_are_refused(card_orders: FeatureView) -> None:
    with pytest.raises(BadFeature, match="view card_orders is declared twice"):
        Registry((card_orders, card_orders))


def test_a_service_over_a_view_of_another_registry_is_refused(card_orders: FeatureView) -> None:
    twin = view_of(count(windows=HOUR), name="twin")
    with pytest.raises(BadFeature, match=r"scoring uses twin, not in this registry\. Add the view to it"):
        Registry((card_orders,), (FeatureService(name="scoring", scored=ORDERS, views=(twin,)),))


def test_sources_are_numbered_by_name_and_two_on_one_topic_are_one_log() -> None:
    """Numbers of sources break ties of `last`; numbers of topics stand in positions."""
    gifts = dataclasses.replace(ORDERS, name="gifts", noun="gift")
    registry = Registry(
        (view_of(count(windows=HOUR, source=gifts), count(windows=HOUR), count(windows=HOUR, source=RULINGS)),)
    )
    assert [source.name for source in registry.sources] == ["gifts", "orders", "rulings"]
    assert registry.topics == ("import.orders.v1", "orders.v1", "import.rulings.v1", "rulings.v1")
