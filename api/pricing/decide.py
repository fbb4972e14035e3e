"""One event's price for one interval, and why. Pure: everything it goes by is handed in, and what it says makes it again."""

from typing import Any, NamedTuple

import numpy as np

from api.pricing.bandit import Ahead, Chances, chances, drawn, rng_of
from api.pricing.contract import PriceRequest
from api.pricing.curve import Curve, Sale
from api.pricing.demand import CategoryBelief, EventCounts, Floats, believed, sensitivity_of
from api.pricing.features import EventNow
from api.pricing.rails import Rails, prices_of
from fraud_assets.contracts.prices import Choice, DemandBelief, Learned, PriceDecision, Rail

SOLD_OUT, STARTED, NO_MULTIPLIER = "sold_out", "event_started", "no_multiplier_permitted"
_VIEW_S = 300
"""`concurrent_viewers` counts those of five minutes."""
_DIGITS = 6


class Rules(NamedTuple):
    """What is the same for every event; see PricingSettings."""

    interval_ms: int
    multipliers: tuple[float, ...]
    max_change: float
    step_minor: int
    explore: float
    dispersion: float
    seed: int
    draws: int
    half_life_ms: float

    @property
    def grid(self) -> Floats:
        return np.array(self.multipliers)

    def interval_start_ms(self, at_ms: int) -> int:
        return at_ms - at_ms % self.interval_ms

    def rails_of(self, asked: PriceRequest) -> Rails:
        """The narrower of ours and the promoter's."""
        lowest, *_, highest = prices_of(asked.base_price_minor, self.multipliers, self.step_minor)
        return Rails(
            max(lowest, asked.floor_minor or 0), min(highest, asked.cap_minor or highest), self.max_change
        )  # fmt: skip


class Knowledge(NamedTuple):
    """What is known when a price is asked for. counts: as of then. curve: of all events' visitors."""

    now: EventNow
    counts: EventCounts
    category: CategoryBelief
    curve: Curve


def decide(rules: Rules, asked: PriceRequest, known: Knowledge, decision_id: str) -> PriceDecision:
    """Draws a permitted multiplier, or keeps the price and says why."""
    rails = rules.rails_of(asked)
    prices = prices_of(asked.base_price_minor, rules.multipliers, rules.step_minor)
    forbidden = [rails.forbid(price, asked.current_price_minor) for price in prices]
    why = _why_none(asked, known.now, forbidden)
    if why:
        return kept(rules, asked, known.now, why, decision_id)
    belief = believed(known.counts, known.category, rules.grid, rules.dispersion)
    ahead = _ahead(rules, asked, known)
    start_ms = rules.interval_start_ms(asked.event_time_ms)
    found, place = draw(rules, asked.event_id, start_ms, belief, forbidden, ahead)
    bound = forbidden[int(found.best.argmax())]
    return _made(
        rules, asked, known.now, decision_id, price_minor=prices[place], guard_rails=bound, fallback=[],
        explanation=_because(rules, found, place, bound), multiplier=rules.multipliers[place],
        choices=_choices(rules, prices, forbidden, found), learned=_learned(known, belief), belief=belief,
        inventory=ahead.inventory, visitors_ahead=ahead.visitors, explore=rules.explore, draws=rules.draws,
    )  # fmt: skip


def kept(rules: Rules, asked: PriceRequest, now: EventNow, why: list[str], decision_id: str) -> PriceDecision:
    """The price as it is, or the base price where there is none yet, but within floor and cap."""
    price, bound = rules.rails_of(asked).kept(asked.current_price_minor or asked.base_price_minor)
    text = f"The price stays as it is: {', '.join(why)}."
    if bound:
        text = f"The price moves to its {bound[0].value} and no further: {', '.join(why)}."
    return _made(rules, asked, now, decision_id, price_minor=price, guard_rails=bound, fallback=why, explanation=text)


def draw(
    rules: Rules, event_id: str, interval_start_ms: int, belief: DemandBelief, forbidden: list[list[Rail]], ahead: Ahead
) -> tuple[Chances, int]:  # fmt: skip
    """The chances and the place drawn: the same of the same, whoever asks and whenever."""
    rng = rng_of(rules.seed, event_id, interval_start_ms)
    found = chances(belief, rules.grid, [not rails for rails in forbidden], ahead, rules.explore, rules.draws, rng)
    return found, drawn(found.propensities, rng)


def redrawn(rules: Rules, made: PriceDecision) -> float | None:
    """The multiplier of a decision, made again from what it says; None where nothing was drawn."""
    if made.belief is None:
        return None
    forbidden = [list(one.forbidden_by) for one in made.choices]
    as_then = rules._replace(explore=made.explore, draws=made.draws, seed=made.seed)
    ahead = Ahead(made.inventory, made.visitors_ahead)
    _, place = draw(as_then, made.event_id, made.event_time_ms, made.belief, forbidden, ahead)
    return rules.multipliers[place]


def _why_none(asked: PriceRequest, now: EventNow, forbidden: list[list[Rail]]) -> list[str]:
    if asked.event_time_ms >= asked.starts_at_ms:
        return [STARTED]
    if now.missing:
        return now.missing
    if not now.inventory:
        return [SOLD_OUT]
    return [NO_MULTIPLIER] if all(forbidden) else []


def _ahead(rules: Rules, asked: PriceRequest, known: Knowledge) -> Ahead:
    """Visitors by the curve, at the event's own level; before it has one, at that of who looks now. One at least, for of none
    every price earns the same.
    """
    start_ms, counts = rules.interval_start_ms(asked.event_time_ms), known.counts
    sale = Sale(min(counts.opened_ms, start_ms), asked.starts_at_ms)
    came = counts.per_interval
    if came is None:
        came = (known.now.viewers or 0.0) * rules.interval_ms / (1_000 * _VIEW_S)
    level = came / known.curve.behind(start_ms, rules.interval_ms, sale, rules.half_life_ms)
    return Ahead(known.now.inventory or 0.0, max(level * known.curve.ahead(start_ms, rules.interval_ms, sale), 1.0))


def _made(
    rules: Rules, asked: PriceRequest, now: EventNow, decision_id: str, *, price_minor: int, **more: Any
) -> PriceDecision:  # fmt: skip
    start_ms = rules.interval_start_ms(asked.event_time_ms)
    return PriceDecision(
        event_time_ms=start_ms, decision_id=decision_id, event_id=asked.event_id, promoter_id=asked.promoter_id,
        category=asked.category, currency=asked.currency, interval_end_ms=start_ms + rules.interval_ms,
        starts_at_ms=asked.starts_at_ms, base_price_minor=asked.base_price_minor, current_price_minor=asked.current_price_minor,
        price_minor=price_minor,
        action=_action(price_minor, asked.current_price_minor or asked.base_price_minor), features=now.features, seed=rules.seed,
        **more,
    )  # fmt: skip


def _action(price_minor: int, before_minor: int) -> str:
    if price_minor == before_minor:
        return "keep"
    return "raise" if price_minor > before_minor else "lower"


def _because(rules: Rules, found: Chances, place: int, bound: list[Rail]) -> str:
    best = int(found.best.argmax())
    text = (
        f"{rules.multipliers[place]:g} times the base price was drawn with a chance of {found.propensities[place]:.0%}; "
        f"{rules.multipliers[best]:g} would earn most with a chance of {found.best[best]:.0%}"
    )
    return f"{text}, and is forbidden by {', '.join(bound)}." if bound else f"{text}."


def _choices(rules: Rules, prices: list[int], forbidden: list[list[Rail]], found: Chances) -> list[Choice]:
    return [
        Choice(
            multiplier=multiplier,
            price_minor=prices[place],
            forbidden_by=forbidden[place],
            propensity=float(found.propensities[place]),
            best_chance=float(found.best[place]),
            tickets_per_visitor=round(float(found.mean[place]), _DIGITS),
            low=round(float(found.low[place]), _DIGITS),
            high=round(float(found.high[place]), _DIGITS),
        )
        for place, multiplier in enumerate(rules.multipliers)
    ]


def _learned(known: Knowledge, belief: DemandBelief) -> Learned:
    mean, sd = sensitivity_of(belief)
    return Learned(
        event_tickets=round(sum(known.counts.tickets), 3),
        event_visitors=round(sum(known.counts.visitors), 3),
        event_intervals=round(known.counts.intervals, 3),
        category_visitors=round(known.category.visitors, 3),
        sensitivity=round(mean, 4),
        sensitivity_sd=round(sd, 4),
    )
