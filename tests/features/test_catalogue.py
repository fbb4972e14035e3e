"""The declared domains: what each promises by name."""

import importlib

import pytest

from fraud_assets.features.catalogue import handbook, sparkov, ticketing
from fraud_assets.features.layout import MAX_STATE_BYTES
from fraud_assets.features.registry import Registry
from fraud_assets.features.windows import DAY_MS, HOUR_MS, MINUTE_MS

DOMAINS = {
    "ticketing": ["fraud_scoring", "event_pricing"],
    "handbook": ["handbook_scoring", "handbook_scoring_with_places"],  # for whoever has the profile files too
    "sparkov": ["sparkov_scoring"],
}


def served(registry: Registry, view: str) -> set[str]:
    return {
        info.name
        for service in registry.services.values()
        for info in registry.features(service)
        if info.view == view and not info.hidden
    }


def test_fraud_scoring_has_at_least_340_features_of_distinct_names() -> None:
    registry = ticketing.registry()
    names = registry.feature_names(registry.service("fraud_scoring"))
    assert len(names) >= 340
    assert len(set(names)) == len(names)


def test_fraud_scoring_is_about_every_entity_and_useful_pairs() -> None:
    groups = {group.name for group in ticketing.registry().groups}
    assert groups >= {"account", "device", "ip", "card", "event", "promoter", "account_device", "account_event"}


PUBLISHED = {
    "event_realtime_metrics": (60 * MINUTE_MS, {"current_inventory", "sell_through_rate_5min", "concurrent_viewers"}),
    "event_historical_metrics": (365 * DAY_MS, {"total_tickets_sold", "avg_ticket_price", "promoter_success_rate"}),
    "user_purchase_behavior": (365 * DAY_MS, {"lifetime_purchases", "fraud_risk_score", "preferred_category"}),
    "user_realtime_fraud_features": (
        2 * HOUR_MS,
        {"user_txn_count_1h", "user_txn_amount_1h", "user_distinct_events_1h", "user_avg_amount_24h"},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_view_has_its_ttl_and_exactly_its_columns(name: str) -> None:
    """Other teams read these four by name."""
    registry = ticketing.registry()
    ttl_ms, columns = PUBLISHED[name]
    assert registry.view(name).ttl_ms == ttl_ms
    assert served(registry, name) == columns


def test_windows_that_the_product_names_exist_for_each_entity() -> None:
    names = set(ticketing.registry().feature_names(ticketing.FRAUD_SCORING))
    for entity in ("account", "device", "ip", "card"):
        for window in ("1m", "5m", "1h", "24h", "7d", "30d"):
            assert f"{entity}_txn_count_{window}" in names
            assert f"{entity}_amount_minor_sum_{window}" in names
        for window in ("1h", "24h", "7d", "30d"):
            for op in ("mean", "min", "max", "std"):
                assert f"{entity}_amount_minor_{op}_{window}" in names


@pytest.mark.parametrize("name", ["device_distinct_accounts_24h", "ip_distinct_cards_1h", "account_distinct_events_24h", "implied_speed_kmh",
                                  "is_new_device", "is_new_card", "ip_country_differs_from_billing", "distance_from_usual_km", "hour_of_day",
                                  "weekday", "account_age_s", "card_declined_ratio_1h"])  # fmt: skip
def test_features_the_product_names_are_served(name: str) -> None:
    names = set(ticketing.registry().feature_names(ticketing.FRAUD_SCORING))
    assert name in names


@pytest.mark.parametrize(
    ("by", "names"),
    {
        "category": ("account_category_spend_minor_30d", "account_category_spend_share_30d"),
        "season": ("account_season_spend_minor_lifetime", "account_season_spend_share_lifetime", "account_spend_pace_90d_to_lifetime"),
        "place": ("account_abroad_spend_minor_sum_30d", "account_abroad_spend_share_30d"),
        "device": ("account_device_spend_minor_sum_30d", "account_device_spend_share_30d"),
    }.items(),
)  # fmt: skip
def test_spending_patterns_are_served(by: str, names: tuple[str, ...]) -> None:
    """By category, season, place and device, as the product names them."""
    assert set(names) <= set(ticketing.registry().feature_names(ticketing.FRAUD_SCORING)), by


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_declares_its_services_and_keeps_its_states_small(domain: str) -> None:
    """Another domain is a module with `registry()`; nothing of the engine is touched."""
    registry: Registry = importlib.import_module(f"fraud_assets.features.catalogue.{domain}").registry()
    assert list(registry.services) == DOMAINS[domain]
    assert all(unit.worst_bytes <= MAX_STATE_BYTES for unit in registry.units)


def test_no_feature_reads_the_outcome_of_the_payment_it_scores() -> None:
    assert "outcome" in ticketing.FRAUD_SCORING.unseen
    assert "outcome" not in ticketing.FRAUD_SCORING.visible


def test_the_handbook_counts_frauds_by_when_they_became_known() -> None:
    """Risk reads label facts, whose time is `label_known_at`; no other view reads `is_fraud`."""
    for view in handbook.VIEWS:
        reads_labels = view.source is handbook.LABELS
        assert reads_labels == view.name.endswith("_risk")
    names = handbook.registry().feature_names(handbook.HANDBOOK_SCORING)
    assert {f"terminal_fraud_mean_{window}" for window in ("24h", "7d", "30d")} <= set(names)


def test_sparkov_has_categories_and_coordinates() -> None:
    names = sparkov.registry().feature_names(sparkov.SPARKOV_SCORING)
    assert {
        "category_fraud_mean_30d",
        "distance_from_home_km",
        "implied_speed_kmh",
        "card_category_txn_count_30d",
    } <= set(names)
