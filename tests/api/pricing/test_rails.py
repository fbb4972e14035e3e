"""No price is recommended beyond floor, cap or the largest change; each rail says when it held."""

from hypothesis import given
from hypothesis import strategies as st

from api.pricing.contract import PriceRequest
from api.pricing.curve import Curve
from api.pricing.decide import NO_MULTIPLIER, Knowledge, Rules, decide, redrawn
from api.pricing.demand import CategoryBelief, EventCounts
from api.pricing.features import EventNow
from api.pricing.rails import Rails, prices_of
from fraud_assets.contracts.events import Category
from fraud_assets.contracts.prices import Rail

RULES = Rules(3_600_000, (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5), 0.15, 10, 0.02, 2.0, 0, 4, 1e12)
NOW = EventNow({"current_inventory": 100.0, "concurrent_viewers": 5.0, "total_tickets_sold": 7.0}, [])
KNOWN = Knowledge(NOW, EventCounts.nothing(9, 0), CategoryBelief.nothing(), Curve.flat())


def asked(base: int = 5_000, current: int = 5_000, floor: int | None = None, cap: int | None = None) -> PriceRequest:
    return PriceRequest(
        event_time_ms=1_000, event_id="e", promoter_id="p", category=Category.CONCERT, currency="EUR", base_price_minor=base,
        current_price_minor=current, starts_at_ms=10**9, floor_minor=floor, cap_minor=cap,
    )  # fmt: skip


def test_each_rail_names_what_it_forbids() -> None:
    rails = Rails(3_500, 7_500, 0.15)

    assert rails.forbid(3_400, 3_500) == [Rail.FLOOR]
    assert rails.forbid(7_600, 7_500) == [Rail.CAP]
    assert rails.forbid(6_000, 5_000) == [Rail.MAX_CHANGE]
    assert rails.forbid(9_000, 5_000) == [Rail.CAP, Rail.MAX_CHANGE]
    assert rails.forbid(5_750, 5_000) == []


@given(
    base=st.integers(1, 200_000), current=st.integers(1, 400_000), event=st.integers(0, 10**6),
    floor=st.none() | st.integers(1, 200_000), above=st.none() | st.integers(0, 200_000),
)  # fmt: skip
def test_no_recommendation_ever_leaves_its_rails(
    base: int, current: int, event: int, floor: int | None, above: int | None
) -> None:
    """Floor and cap hold always, the largest change unless these ask for more; and every one can be made again."""
    cap = None if above is None else (floor or 1) + above
    prices = prices_of(base, RULES.multipliers, RULES.step_minor)
    wanted = asked(base, current, floor, cap)
    wanted = PriceRequest(
        **{name: getattr(wanted, name) for name in wanted.__struct_fields__} | {"event_id": f"e{event}"}
    )

    said = decide(RULES, wanted, KNOWN, "d1")

    low, high = max(prices[0], floor or 0), min(prices[-1], cap or prices[-1])
    if low <= high:
        assert low <= said.price_minor <= high
    moved = abs(said.price_minor - current)
    assert moved <= 0.15 * current or (said.fallback == [NO_MULTIPLIER] and said.price_minor in (low, high))
    assert redrawn(RULES, said) == said.multiplier


def test_a_rail_that_held_is_said() -> None:
    """Two tickets and thousands who want them: 1.5 times the price would earn most, and is too large a step."""
    scarce = Knowledge(EventNow({"current_inventory": 2.0, "concurrent_viewers": 30.0}, []), *KNOWN[1:])

    said = decide(RULES, asked(), scarce, "d1")

    assert said.guard_rails == [Rail.MAX_CHANGE]
    assert "forbidden by max_change" in said.explanation
    assert said.choices[8].forbidden_by == [Rail.MAX_CHANGE] and said.choices[8].best_chance > 0.9


def test_the_promoters_floor_and_cap_narrow_ours() -> None:
    said = decide(RULES, asked(floor=4_900, cap=5_100), KNOWN, "d1")

    assert (said.price_minor, said.multiplier) == (5_000, 1.0)
    assert [bool(one.forbidden_by) for one in said.choices].count(False) == 1
