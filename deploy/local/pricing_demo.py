"""The pricing service in seeded markets, against fixed prices and a rule.

    python -m deploy.local.pricing_demo [--seeds 5] [--events 40] [--hours 240] [--learn-from posted|stream] [--var var/pricing-demo]

Starts a Valkey, a broker and the service on free ports, plays each market under three policies, and prints what each earned beside
the best fixed price of each event. The worker then takes the service's log to a lake, and off-policy estimates from that are
checked against the truth. Writes a report; exits with 0 if every tolerance holds. Everything it started is stopped.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import redis
from rich.console import Console
from rich.table import Table as Shown

from deploy.local.demo_command import conduct, demo_parser
from deploy.local.demo_steps import Step, StepFailed, Steps
from deploy.local.demo_traffic import ends
from deploy.local.pricing_feed import Feed
from deploy.local.probes import NotReady, groups_are_consuming, http_answers, wait_until
from deploy.local.scorer_key import ensure_key
from deploy.local.services import PRICING, Service
from deploy.local.stack import ServiceFailed, Stack, running
from deploy.local.written import write_json
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.monitoring.off_policy import TARGETS, Decided, Estimate, Faults, estimate, faults_of, logged
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from simulator import pricing_policies as policies
from simulator.http_client import HttpClient, HttpFailure
from simulator.metrics import percent
from simulator.pricing_market import HOUR_MS, MarketEvent, MarketSpec, Policy, Run, best_fixed, events_of, play
from simulator.pricing_report import (
    Table,
    Tolerance,
    headline,
    learning_table,
    mean_share,
    price_path,
    write_pricing_report,
)
from simulator.pricing_results import THIRDS, Best, Earned, Learning, best_of, earned

OFF_POLICY_WITHIN = 0.10
"""Doubly robust, relative, of the base price's revenue per visitor; or within three standard errors, where a log is short."""
POSTED, STREAM = "posted", "stream"
SHOWN = 1.645
"""Standard errors by which a change is one: one in twenty by chance."""
ENOUGH_MARKETS = 3
BEGAN_MS = 497_460 * HOUR_MS
"""Each market's first hour: a draw is of its event and interval, so another time would be another run."""
_SECONDS_FOR_AN_ANSWER = 20.0
# Not `ready`: it starts beside an empty store, and each market publishes an epoch of its own.
SERVICE = replace(PRICING, probe=lambda context: http_answers(f"{context.env['FRAUD_PRICING_URL']}/health/live"))
ROUTER = Service(
    name="router",
    needs=("valkey", "broker"),
    argv=lambda _: [sys.executable, "-m", "streaming", "router"],
    probe=lambda context: groups_are_consuming(context.env["KAFKA_BOOTSTRAP_SERVERS"], "fraud-worker"),
    ready_within_s=240.0,
)
"""Of the worker's processes the one that writes the lake."""
_IN_THE_LAKE_WITHIN_S = 180.0
# What is earned must not turn on the milliseconds in which a busy machine may not answer.
PATIENCE = {"FRAUD_STORE_TIMEOUT_MS": "1000", "FRAUD_SHARED_TIMEOUT_MS": "1000", "FRAUD_PRICE_TIMEOUT_MS": "5000"}


@dataclass(frozen=True)
class PricingDemo:
    """What to play, and where its state lies."""

    var_dir: Path
    seeds: int
    events: int
    hours: int
    learn_from: str


@dataclass
class Played:
    """All markets so far. learning: the service's, of each seed. priced, counted: prices
    and outcomes that its log should have.
    """

    markets: dict[int, list[Earned]] = field(default_factory=dict)
    learning: list[Learning] = field(default_factory=list, repr=False)
    examples: list[Table] = field(default_factory=list, repr=False)
    events: dict[str, MarketEvent] = field(default_factory=dict)
    priced: int = 0
    counted: int = 0
    fallbacks: dict[str, int] = field(default_factory=dict)
    uncounted: dict[str, int] = field(default_factory=dict)


class PricingSummary(msgspec.Struct, frozen=True, kw_only=True):
    """`summary.json`, and the last line. Shares are of the best fixed prices' revenue, means over the seeds."""

    seeds: int
    revenue_share: dict[str, float]
    revenue_share_by_seed: dict[str, list[float]]
    sell_through: dict[str, float]
    regret: dict[str, float]
    expected_regret_by_third: list[float]
    off_policy: dict[str, dict[str, float]]
    off_policy_truth: float
    broken_rails: int
    fallbacks: dict[str, int]
    uncounted: dict[str, int]
    failed: list[str]
    seconds: float

    def problems(self) -> list[str]:
        """Tolerances that did not hold."""
        return self.failed


def main() -> None:
    demo = _parse_arguments(sys.argv[1:])
    conduct(demo.var_dir, lambda folder, console, began_s: run(demo, folder, console, began_s))


def run(demo: PricingDemo, folder: Path, console: Console, began_s: float) -> PricingSummary:
    """All steps. Raises StepFailed; whatever happens, everything it started is stopped."""
    steps = Steps(console, demo.seeds + 3, folder / "logs", {})
    played = Played()
    try:
        with ExitStack() as stopped:
            with steps.step("online store and pricing service") as step:
                stack = stopped.enter_context(
                    running(
                        ["valkey", "broker", SERVICE], folder, PATIENCE | {"FRAUD_PRICE_LEARN_FROM": demo.learn_from}
                    )
                )
                step.result = stack.env["FRAUD_PRICING_URL"]
            for seed in range(1, demo.seeds + 1):
                with steps.step(f"market {seed}: fixed, rule, service") as step:
                    _market(MarketSpec(seed, demo.events, demo.hours), stack, played, step, demo.learn_from)
            with steps.step("the service's log, through the worker to the lake") as step:
                lake = _sunk(stack, played, folder)
                step.result = f"{played.priced:,} prices, {played.counted:,} outcomes"
    except (ServiceFailed, HttpFailure) as failure:
        raise StepFailed(str(failure)) from failure
    with steps.step("off-policy estimates from the lake") as step:
        decided = logged(lake)
        step.result = f"{len(decided):,} decisions with an outcome"
        return _conclude(played, decided, faults_of(lake), folder, console, began_s)


def _sunk(stack: Stack, played: Played, folder: Path) -> Lake:
    """Raises ServiceFailed if the lake has not all of the log in time."""
    uri = folder / "lake"
    given = {name: stack.env[name] for name in ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL")} | {"FRAUD_LAKE_URI": str(uri)}
    lake, least = Lake(str(uri)), {"price_decisions": played.priced, "price_outcomes": played.counted}

    def all_there() -> None:
        sent = {table: sum(ends(given["KAFKA_BOOTSTRAP_SERVERS"], [f"{table}.v1"]).values()) for table in least}
        rows = {table: lake.scan(table, columns=["decision_id"]).num_rows for table in least}
        if rows != sent or any(rows[table] < n for table, n in least.items()):
            raise NotReady(f"{rows} rows of {sent} records, which have to be {least} at least")

    with running([ROUTER], folder / "worker", given):
        try:
            wait_until(all_there, _IN_THE_LAKE_WITHIN_S, lambda: None)
        except NotReady as reason:
            raise ServiceFailed(f"the lake has not all of the log: {reason}") from reason
    return lake


def _market(spec: MarketSpec, stack: Stack, played: Played, step: Step, learn_from: str) -> None:
    events = events_of(spec)
    best = best_of(spec, events)
    runs = {name: _baseline(spec, events, policy, step) for name, policy in (("fixed", policies.Fixed()), ("rule", policies.SellThrough()))}  # fmt: skip
    runs["service"] = asyncio.run(_service(spec, events, stack, played, step, learn_from))
    played.markets[spec.seed] = earned(events, best.revenue_minor, runs)
    played.learning.append(Learning.of(best.plenty, runs["service"].sold))
    played.examples = played.examples or _examples(spec, events, best, runs)
    played.events |= {event.event_id: event for event in events}
    step.result = "  ".join(f"{one.policy} {percent(one.share, 1)}" for one in played.markets[spec.seed])


def _examples(
    spec: MarketSpec, events: Sequence[MarketEvent], best: Best, runs: Mapping[str, Run]
) -> list[Table]:  # fmt: skip
    """Of each kind the event that could have earned most."""
    found = []
    for title, is_plenty in (("An event that runs short", False), ("An event with plenty", True)):
        numbers = [event.number for event in events if (event.number in best.plenty) == is_plenty]
        if numbers:
            event = events[max(numbers, key=lambda number: float(best.revenue_minor[number].sum()))]
            found.append(price_path(title, event, runs, best_fixed(spec, event)[0]))
    return found


def _baseline(spec: MarketSpec, events: Sequence[MarketEvent], policy: Policy, step: Step) -> Run:
    return asyncio.run(play(spec, events, policy, _noting(type(policy).__name__, spec, step)))


async def _service(
    spec: MarketSpec, events: Sequence[MarketEvent], stack: Stack, played: Played, step: Step, learn_from: str
) -> Run:  # fmt: skip
    """In an empty store: what one market taught the next must not know."""
    url = stack.env["REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        client.flushall()
    store = OnlineStore.connect(url, registry())
    try:
        store.publish_epoch(f"market-{spec.seed}", log="market", resume={}, now_ms=BEGAN_MS)
        credential = ensure_key(stack.context.var_dir)
        async with HttpClient(stack.env["FRAUD_PRICING_URL"], _SECONDS_FOR_AN_ANSWER, 1, credential) as client:
            policy = policies.Service(client, BEGAN_MS, Feed(store).publish, posts=learn_from == POSTED)
            found = await play(spec, events, policy, _noting("service", spec, step))
    finally:
        store.close()
    played.priced += policy.priced
    played.counted += policy.counted
    for counts, more in ((played.fallbacks, policy.fallbacks), (played.uncounted, policy.uncounted)):
        for name, count in more.items():
            counts[name] = counts.get(name, 0) + count
    return found


def _noting(name: str, spec: MarketSpec, step: Step) -> Callable[[int], None]:
    return lambda hour: step.note(f"{name}: hour {hour + 1} of {spec.hours}")


def _conclude(
    played: Played, decided: Sequence[Decided], faults: Faults, folder: Path, console: Console, began_s: float
) -> PricingSummary:  # fmt: skip
    estimates = {name: estimate(decided, target) for name, target in TARGETS.items()}
    truth = base_price_truth(decided, played.events)
    learning = Learning.pooled(played.learning)
    tolerances = tolerances_of(played, estimates["base price"], truth, faults)
    off_policy = Table(
        "Off-policy check",
        "Revenue per visitor in base prices, estimated from the service's log in the lake alone. The truth is the world's own demand at the base price, of the same decisions.",
        ("policy", "inverse propensity", "self-normalised", "doubly robust", "± (1 se)", "covered", "effective decisions", "truth"),
        [_row(name, one, truth if name == "base price" else None) for name, one in estimates.items()],
    )  # fmt: skip
    report = write_pricing_report(
        played.markets,
        [learning_table(dict(zip(played.markets, played.learning, strict=True))), *played.examples, off_policy],
        tolerances,
        folder / "report.html",
    )
    summary = _summary(played, learning, estimates, truth, tolerances, time.monotonic() - began_s)
    write_json(summary, folder / "summary.json")
    _print(console, played, off_policy, tolerances, learning.shares)
    console.print(f"[bold]{headline(played.markets)}[/]\nreport: {report}")
    print(msgspec.json.encode(summary).decode())
    return summary


def tolerances_of(
    played: Played, base_price: Estimate, truth: float, faults: Faults
) -> list[Tolerance]:  # fmt: skip
    """What has to hold for the demo to succeed."""
    service = mean_share(played.markets, "service")
    broken = [one for every in played.markets.values() for each in every for one in each.broken]
    off_by = abs(base_price.doubly_robust / truth - 1.0)
    beats = [
        Tolerance(f"more revenue than {name}, mean over seeds", f"{percent(service, 2)} against {percent(other, 2)} of the best fixed prices'", service > other)
        for name in ("fixed", "rule")
        if (other := mean_share(played.markets, name))
    ]  # fmt: skip
    return [
        *beats,
        _falling(played.learning),
        Tolerance("no guard rail is broken, as the market sees it", f"{len(broken)} broken", not broken),
        Tolerance("every logged price was drawn with the chances it names, and is its event's only one of the hour", f"{faults.not_drawn_so} and {faults.several_prices} are not", not any(faults)),
        Tolerance(
            f"the log says within {OFF_POLICY_WITHIN:.0%}, or three standard errors, what the base price would have earned", f"off by {percent(off_by, 1)}",
            off_by <= OFF_POLICY_WITHIN or abs(base_price.doubly_robust - truth) <= 3 * base_price.doubly_robust_se,
        ),
        Tolerance("every outcome is counted but those of sold-out, unvisited and off-grid intervals", f"{played.uncounted}", not set(played.uncounted) - {"sold_out", "nobody_came", "price_off_grid"}),
    ]  # fmt: skip


def _falling(markets: Sequence[Learning]) -> Tolerance:
    """One market has too few events to show a fall: there it must not be shown to rise."""
    every = Learning.pooled(markets)
    steps = [(earlier, earlier + 1) for earlier in range(THIRDS - 1)]
    falls = [every.fall(*step) for step in steps]
    fall, se = every.fall(0, THIRDS - 1)
    shown = sum(one.fall(0, THIRDS - 1)[0] > 0 for one in markets)
    found = (
        f"{' → '.join(percent(one, 2) for one in every.shares)}: {percent(fall, 2)} ± {percent(se, 2)} less in the last third than in the"
        f" first, and less in {shown} of {len(markets)} markets"
    )
    if len(markets) < ENOUGH_MARKETS:
        claim = "regret by the true demand does not rise from the first to the last third of a sale, by more than 1.64 standard errors (one market)"
        return Tolerance(claim, found, fall >= -SHOWN * se)
    claim = "regret by the true demand falls from third to third of a sale, and from the first to the last by more than 1.64 standard errors over events, and in most markets"
    return Tolerance(claim, found, fall > SHOWN * se and all(one > 0 for one, _ in falls) and 2 * shown > len(markets))


def base_price_truth(decided: Sequence[Decided], events: Mapping[str, MarketEvent]) -> float:
    """Of the decisions that permit the base price: its expected revenue per visitor in base prices."""
    covered = [one for one in decided if TARGETS["base price"](one) is not None]
    visitors = np.array([one.visitors for one in covered])
    return float(visitors @ np.array([events[one.event_id].demand(1.0) for one in covered]) / visitors.sum())


def _row(name: str, one: Estimate, truth: float | None) -> list[str]:
    return [
        name, f"{one.inverse_propensity:.4f}", f"{one.self_normalised:.4f}", f"{one.doubly_robust:.4f}", f"{one.doubly_robust_se:.4f}",
        percent(one.covered, 1), f"{one.effective:,.0f}", "" if truth is None else f"{truth:.4f}",
    ]  # fmt: skip


def _summary(
    played: Played, learning: Learning, estimates: Mapping[str, Estimate], truth: float,
    tolerances: Sequence[Tolerance], seconds: float,
) -> PricingSummary:  # fmt: skip
    by_policy: dict[str, list[Earned]] = {}
    for every in played.markets.values():
        for one in every:
            by_policy.setdefault(one.policy, []).append(one)
    return PricingSummary(
        seeds=len(played.markets),
        revenue_share={name: round(mean_share(played.markets, name), 4) for name in by_policy},
        revenue_share_by_seed={name: [round(one.share, 4) for one in every] for name, every in by_policy.items()},
        sell_through={name: round(float(np.mean([one.sell_through for one in every])), 4) for name, every in by_policy.items()},
        regret={name: round(float(np.mean([one.regret[-1] for one in every])), 4) for name, every in by_policy.items()},
        expected_regret_by_third=[round(one, 4) for one in learning.shares],
        off_policy={name: {key: round(float(value), 4) for key, value in asdict(one).items()} for name, one in estimates.items()},
        off_policy_truth=round(truth, 4),
        broken_rails=sum(len(one.broken) for every in by_policy.values() for one in every),
        fallbacks=played.fallbacks,
        uncounted=played.uncounted,
        failed=[f"{one.claim}: {one.found}" for one in tolerances if not one.holds],
        seconds=round(seconds, 1),
    )  # fmt: skip


def _print(
    console: Console, played: Played, off_policy: Table, tolerances: Sequence[Tolerance], learning: Sequence[float]
) -> None:
    table = Shown("policy", "revenue, EUR", "of best fixed", "by seed", "sell-through", "regret")
    for name in [one.policy for one in next(iter(played.markets.values()))]:
        every = [one for market in played.markets.values() for one in market if one.policy == name]
        revenue = sum(one.revenue_minor for one in every) / 100
        table.add_row(
            name, f"{revenue:,.0f}", percent(mean_share(played.markets, name), 1), " ".join(percent(one.share) for one in every),
            percent(float(np.mean([one.sell_through for one in every])), 1), percent(float(np.mean([one.regret[-1] for one in every])), 1),
        )  # fmt: skip
    console.print(table)
    console.print(f"expected regret by third of a sale: {' → '.join(percent(one, 2) for one in learning)}")
    shown = Shown(*off_policy.columns, title=off_policy.title)
    for row in off_policy.rows:
        shown.add_row(*row)
    console.print(shown)
    for one in tolerances:
        console.print(f"{'[green]✔[/]' if one.holds else '[red]✘[/]'} {one.claim}: {one.found}", soft_wrap=True)


def _parse_arguments(arguments: list[str]) -> PricingDemo:
    parser = demo_parser("deploy.local.pricing_demo", __doc__, "pricing-demo")
    parser.add_argument("--seeds", type=int, default=5, help="markets")
    parser.add_argument("--events", type=int, default=40, help="of each market")
    parser.add_argument("--hours", type=int, default=240, help="of each market")
    parser.add_argument(
        "--learn-from",
        choices=[POSTED, STREAM],
        default=POSTED,
        help="what the service hears of an hour (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    return PricingDemo(chosen.var, chosen.seeds, chosen.events, chosen.hours, chosen.learn_from)


if __name__ == "__main__":
    main()
