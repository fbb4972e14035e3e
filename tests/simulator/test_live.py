"""A live run keeps its own clock, tells the platform what a shop would know, and publishes what became of it."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TypeVar

import msgspec
import numpy as np
import pytest

from api.contract import Answer, Answers, ScoringRequest
from fraud_assets.contracts.events import Activity, ActivityKind, Event, Label, Outcome, Profile, Transaction
from fraud_assets.contracts.tokens import country_of, tokenise
from fraud_assets.contracts.topics import TRANSACTIONS, Topic
from simulator.campaigns import Wave
from simulator.card_testing import MIDDLING_TESTS, CardTesting
from simulator.habits import WEEKDAY_FACTOR
from simulator.http_client import HttpClient
from simulator.kinds import Kind
from simulator.live import LiveRun, RunSettings
from simulator.live_plan import LivePlan, plan_live
from simulator.metrics import metrics_of
from simulator.plan import EVERYDAY
from simulator.ports import ApiScorer, NoScorer, NoVerdict, Scorer, Verdict
from simulator.purchases import NO_CAMPAIGN
from simulator.results import RunResult
from simulator.rhythm import awake_at, weekday
from simulator.scenarios.registry import SCENARIOS, UnknownScenario, scenario_named
from simulator.script import script_of
from simulator.spec import HOUR_MS
from tests.simulator.fake_api import FakeApi
from tests.simulator.worlds import KEY, SPEC, Made

START_MS = SPEC.end_ms + 3_600_000
RATE, SECONDS = 150.0, 2.0


E = TypeVar("E", bound=Event)


@dataclass
class Recorded:
    """A source that remembers."""

    events: list[tuple[Topic, Event]] = field(default_factory=list)
    published: dict[str, int] = field(default_factory=Counter)
    failed: int = 0
    closed: bool = False

    def publish(self, topic: Topic, event: Event) -> None:
        self.events.append((topic, event))
        self.published[topic.name] += 1

    def poll(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def of(self, kind: type[E]) -> list[E]:
        return [event for _, event in self.events if isinstance(event, kind)]


def planned(made: Made, name: str = "card-testing", rate: float = RATE, seed: int = 7) -> LivePlan:
    return plan_live(made.world, SCENARIOS[name], rate, SECONDS, seed, START_MS)


def driven(
    made: Made,
    plan: LivePlan,
    source: Recorded,
    scorer: Scorer | None = None,
    api: FakeApi | None = None,
    max_in_flight: int = 2_000,
) -> RunResult:
    """The whole plan, against a fake API or a given scorer."""
    settings = RunSettings(RATE, SECONDS, 7, ("api", "kafka"), max_in_flight)
    sold = made.world.events.sold_before

    async def drive() -> RunResult:
        if scorer is not None:
            return await LiveRun(
                made.world, made.names, script_of(made.world, made.names, plan), settings, scorer, source, sold
            ).run()
        async with api or FakeApi() as server, HttpClient(server.url, timeout_s=60) as client:
            return await LiveRun(
                made.world,
                made.names,
                script_of(made.world, made.names, plan),
                settings,
                ApiScorer(client),
                source,
                sold,
            ).run()

    return asyncio.run(drive())


Attacked = tuple[LivePlan, FakeApi, Recorded, RunResult]


@pytest.fixture(scope="module")
def attacked(made: Made) -> Attacked:
    """One run with an attack, shared by the tests that only look at it."""
    plan, api, source = planned(made), FakeApi(), Recorded()
    return plan, api, source, driven(made, plan, source, api=api)


def test_same_world_seed_and_start_give_the_same_plan(made: Made) -> None:
    first, again, other = planned(made), planned(made), planned(made, seed=8)

    assert np.array_equal(first.number, again.number)
    for name, column in vars(first.rows).items():
        assert np.array_equal(column, getattr(again.rows, name))
    assert not np.array_equal(first.rows.account[:50], other.rows.account[:50])


def test_arrivals_are_poisson_at_the_asked_rate(made: Made) -> None:
    """Counts of many seeds have mean and variance near rate × duration."""
    counts = [len(planned(made, "normal-traffic", seed=seed).rows) for seed in range(25)]

    assert abs(np.mean(counts) - RATE * SECONDS) < 0.06 * RATE * SECONDS
    assert 0.3 < np.var(counts) / np.mean(counts) < 2.5


NIGHT_MS, EVENING_MS = SPEC.end_ms + 5 * HOUR_MS, SPEC.end_ms + 19 * HOUR_MS


def test_in_real_time_the_night_is_quiet_and_a_day_has_the_mean_rate(made: Made) -> None:
    """Else the rate is that of any hour."""

    def rate(start_ms: int, seconds: float, realtime: bool) -> float:
        plan = plan_live(made.world, SCENARIOS["normal-traffic"], 0.5, seconds, 7, start_ms, realtime=realtime)
        return len(plan.rows) / seconds

    assert rate(NIGHT_MS, 3_600, True) < 0.35 < 0.6 < rate(EVENING_MS, 3_600, True)
    assert [rate(at_ms, 3_600, False) for at_ms in (NIGHT_MS, EVENING_MS)] == pytest.approx([0.5, 0.5], rel=0.1)
    # Retries and what is bought in addition come on top.
    whole_day = rate(SPEC.end_ms, 24 * 3_600, True) / (0.5 * WEEKDAY_FACTOR[weekday(SPEC.end_ms)])
    assert 1 < whole_day < 1.1


def test_in_real_time_those_come_who_are_up(made: Made) -> None:
    for at_ms in (NIGHT_MS, EVENING_MS):
        awake = awake_at(made.world, at_ms)
        scenario = SCENARIOS["normal-traffic"]
        came, any_hour = (
            plan_live(made.world, scenario, 5.0, 600, 7, at_ms, realtime=realtime).rows.account
            for realtime in (True, False)
        )

        assert awake[came].mean() > 1.06 * awake[any_hour].mean()


def test_everyday_fraud_is_of_all_kinds_at_the_shares_of_the_world(made: Made) -> None:
    plan = plan_live(made.world, SCENARIOS["normal-traffic"], 400, 60, 7, START_MS)
    kinds = Counter(plan.campaigns[origin].kind for origin in plan.rows.origin if origin >= 0)
    kinds[Kind.CARD_TESTING] += kinds.pop(Kind.CASH_OUT, 0)

    assert set(kinds) == set(EVERYDAY)
    for kind, usual in EVERYDAY.items():
        assert 0.4 < kinds[kind] / len(plan.rows) / getattr(SPEC, usual.share) < 2, kind
    assert not any(plan.own)


def test_a_run_too_short_for_any_attack_is_of_honest_people(made: Made) -> None:
    plans = [plan_live(made.world, SCENARIOS["normal-traffic"], 5, 5, seed, START_MS) for seed in range(12)]

    quiet = [plan for plan in plans if not plan.campaigns]
    assert quiet, "twelve runs of 25 purchases, and each had an attack"
    assert any(len(plan.rows) for plan in quiet)
    assert all((plan.rows.origin == NO_CAMPAIGN).all() for plan in quiet)


@pytest.mark.parametrize("camouflage", [0.15, 0.5, 0.85])
def test_a_crew_of_a_live_run_has_the_means_of_one_of_history_for_as_many_tests(camouflage: float) -> None:
    wave = Wave(START_MS, HOUR_MS, MIDDLING_TESTS, camouflage)
    whole, squeezed = CardTesting.of(wave), CardTesting.of(replace(wave, purchases=MIDDLING_TESTS // 2))
    drawn = [CardTesting.drawn(START_MS, np.random.default_rng(seed)) for seed in range(300)]
    like = [one for one in drawn if abs(one.camouflage - camouflage) < 0.1]

    for means in ("devices", "addresses", "accounts"):
        assert np.mean([getattr(one, means) for one in like]) == pytest.approx(getattr(whole, means), rel=0.25)
        assert getattr(squeezed, means) < 0.85 * getattr(whole, means)


def test_the_attack_stays_in_its_band_and_adds_nothing_to_the_rate(made: Made) -> None:
    plan = planned(made, rate=1_000)
    kinds = np.array([str(plan.campaigns[o].kind) if o >= 0 and plan.own[o] else "" for o in plan.rows.origin])
    offset = (plan.rows.time_ms[kinds == "card_testing"] - START_MS) / (SECONDS * 1000)

    assert offset.min() >= 0.33 and offset.max() <= 0.75
    assert 0.03 < (kinds == "card_testing").mean() < 0.07
    assert abs(len(plan.rows) - 1_000 * SECONDS) < 300


def test_honest_people_buy_about_once_in_a_short_run(made: Made) -> None:
    """A dense run must not turn ordinary people into suspects: nobody honest has many purchases."""
    plan = planned(made, "card-testing", rate=500)
    honest = plan.rows.account[plan.rows.origin < 0]

    assert np.bincount(honest).max() <= 3


def test_live_ids_differ_from_all_history_and_from_another_start(made: Made) -> None:
    later = plan_live(made.world, SCENARIOS["normal-traffic"], RATE, SECONDS, 7, START_MS + 5_000)
    plan = planned(made, "normal-traffic")

    assert plan.number.min() > SPEC.days << 40
    assert np.intersect1d(plan.number, later.number).size == 0


def test_the_request_holds_raw_data_and_nothing_from_the_future(attacked: Attacked) -> None:
    """A shop sends card number, e-mail and address; it knows neither tokens nor the outcome."""
    _, api, source, _ = attacked
    published = {event.transaction_id: event for event in source.of(Transaction)}

    for request in api.requests:
        event = published[request["transaction_id"]]
        assert {"outcome", "ip_token", "card_token", "email_token", "ip_country"}.isdisjoint(request)
        assert tokenise("ip", request["ip"], KEY) == event.ip_token
        assert country_of(request["ip"]) == event.ip_country
        assert tokenise("email", request["email"], KEY) == event.email_token
        card = request.get("card_number")
        assert (tokenise("card", card, KEY) if card else None) == event.card_token


def test_the_request_is_the_transaction_without_what_was_replaced(attacked: Attacked) -> None:
    _, api, source, _ = attacked
    published = {event.transaction_id: msgspec.to_builtins(event) for event in source.of(Transaction)}

    for request in api.requests:
        event = published[request["transaction_id"]]
        kept = request.keys() - {"ip", "email", "card_number"}
        assert {name: request[name] for name in kept} == {name: event[name] for name in kept}


def test_the_request_is_one_the_scorer_accepts(attacked: Attacked) -> None:
    """Decoded by the API's own strict contract."""
    _, api, _, _ = attacked

    for request in api.requests:
        assert msgspec.convert(request, ScoringRequest).transaction_id == request["transaction_id"]


def test_the_verdict_is_one_the_scorer_gives() -> None:
    """Every field the simulator reads is in the API's answer, under the same envelope."""
    answer = {field.name for field in msgspec.structs.fields(Answer)}

    assert {field.name for field in msgspec.structs.fields(Verdict)} <= answer
    assert [field.name for field in msgspec.structs.fields(Answers)] == ["decisions"]


def test_every_purchase_is_published_once_after_its_decision(attacked: Attacked) -> None:
    plan, api, source, result = attacked

    assert len(source.of(Transaction)) == len(plan.rows) == len(result.purchases) == len(api.requests)
    assert len({event.transaction_id for event in source.of(Transaction)}) == len(plan.rows)
    assert source.closed


def test_a_denied_purchase_is_published_as_declined_by_us(attacked: Attacked) -> None:
    _, _, source, result = attacked
    decision = {row.transaction_id: row.decision for row in result.purchases}
    outcomes: dict[str, Counter[Outcome]] = {"deny": Counter(), "approve": Counter()}

    for event in source.of(Transaction):
        outcomes[decision[event.transaction_id]][event.outcome] += 1

    assert set(outcomes["deny"]) == {Outcome.DECLINED_BY_US}
    assert {Outcome.APPROVED, Outcome.DECLINED_BY_ISSUER} <= set(outcomes["approve"])


def test_labels_follow_their_purchase_and_nobody_charges_back_what_we_denied(attacked: Attacked) -> None:
    _, _, source, _ = attacked
    seen: dict[str, Transaction] = {}
    labels = 0
    for _, event in source.events:
        if isinstance(event, Transaction):
            seen[event.transaction_id] = event
        if isinstance(event, Label):
            labels += 1
            refused = seen[event.transaction_id].outcome is Outcome.DECLINED_BY_US
            assert not refused or event.source == "manual_review"
            assert seen[event.transaction_id].account_id == event.account_id
    assert labels > 0


def test_views_inventory_and_profile_changes_flow_beside_the_purchases(attacked: Attacked) -> None:
    _, _, source, _ = attacked
    kinds = Counter(event.kind for event in source.of(Activity))

    assert kinds[ActivityKind.VIEW] > 50
    assert source.of(Profile)


def test_an_unreachable_api_is_counted_and_sales_go_on(made: Made) -> None:
    """The shop keeps selling: purchases are published as though approved, and the run says so."""

    class Refuses:
        async def decide(self, request: dict[str, object]) -> Verdict:
            raise NoVerdict("refused")

    plan, source = planned(made), Recorded()
    result = driven(made, plan, source, scorer=Refuses())
    metrics = metrics_of(result)

    assert metrics.errors == {"refused": len(plan.rows)}
    assert metrics.decisions == 0
    assert metrics.held_rate is False
    assert metrics.attack.recall is None
    assert len(source.of(Transaction)) == len(plan.rows)
    assert Outcome.APPROVED in {event.outcome for event in source.of(Transaction)}


def test_a_slow_api_does_not_slow_the_arrivals(made: Made) -> None:
    """Open loop: 300 answers of 400 ms each would take two minutes one after another."""
    plan, source = planned(made, "normal-traffic"), Recorded()
    began = time.perf_counter()

    result = driven(made, plan, source, api=FakeApi(delay_s=0.4))

    assert time.perf_counter() - began < 40  # generous: a busy machine, still far from two minutes
    assert result.in_flight_peak > 0.2 * RATE
    assert min(row.latency_ms or 0 for row in result.purchases) >= 400


def test_what_exceeds_the_limit_is_shed_and_reported(made: Made) -> None:
    plan, source = planned(made, "normal-traffic"), Recorded()

    result = driven(made, plan, source, api=FakeApi(delay_s=0.4), max_in_flight=5)
    metrics = metrics_of(result)

    assert result.in_flight_peak == 5
    assert metrics.not_sent > 0
    assert metrics.held_rate is False
    assert metrics.not_sent + metrics.decisions == len(plan.rows)


def test_kafka_alone_asks_nobody(made: Made) -> None:
    plan, source = planned(made, "normal-traffic"), Recorded()

    result = driven(made, plan, source, scorer=NoScorer())

    assert {row.error for row in result.purchases} == {"not_asked"}
    assert source.published[TRANSACTIONS.name] == len(plan.rows)


def test_an_unknown_scenario_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownScenario, match=r"'blak-friday'.*adaptive, black-friday, card-testing"):
        scenario_named("blak-friday")
