"""Scenarios are plans: what each puts into a run, and what the platform then has to keep to."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from simulator.figures import HANDED_IN, UnknownFigure, figures_of, meaning_of
from simulator.kinds import Kind
from simulator.live_plan import LivePlan, plan_live
from simulator.metrics import metrics_of
from simulator.purchases import WALLET
from simulator.results import OutageBand
from simulator.scenarios.registry import SCENARIOS, scenario_named
from simulator.scenarios.scenario import Adversary, Scenario
from simulator.scenarios.tolerances import Kept, Tolerance, judged
from simulator.watcher import Watcher
from tests.simulator.test_report import MIXED, purchase, run
from tests.simulator.worlds import SPEC, Made

START_MS = SPEC.end_ms + 3_600_000
RATE, SECONDS = 100.0, 20.0


def planned(made: Made, scenario: Scenario, seed: int = 7) -> LivePlan:
    return plan_live(made.world, scenario, RATE, SECONDS, seed, START_MS)


PLANNED = sorted(set(SCENARIOS) - {"replay"})


@pytest.mark.parametrize("name", PLANNED)
def test_every_scenario_is_planned_the_same_from_the_same_seed(made: Made, name: str) -> None:
    first, again = (planned(made, scenario_named(name)) for _ in range(2))

    assert len(first.rows) > 0.5 * RATE * SECONDS
    for column, values in vars(first.rows).items():
        assert np.array_equal(values, getattr(again.rows, column)), column
    assert first.bands == again.bands


@pytest.mark.parametrize("name", PLANNED)
def test_a_tolerance_names_a_figure_that_there_is(name: str) -> None:
    """A figure nobody measures would be unmeasured for ever, and a kind that no attack has, too."""
    known = set(figures_of(run(MIXED), metrics_of(run(MIXED))))
    kinds = {str(kind) for kind in Kind}

    for one in scenario_named(name).tolerances:
        base, _, kind = one.figure.partition(".")
        assert base in known and (not kind or kind in kinds), one.figure
        assert meaning_of(one.figure)


def test_a_surge_is_more_arrivals_where_it_is(made: Made) -> None:
    offset = (planned(made, SCENARIOS["flash-sale"]).rows.time_ms - START_MS) / (SECONDS * 1000)

    inside, before = np.mean((offset >= 0.3) & (offset < 0.6)) / 0.3, np.mean(offset < 0.3) / 0.3
    assert inside > 1.8 * before


def test_a_crowd_is_honest_and_comes_for_one_event(made: Made) -> None:
    rows = planned(made, SCENARIOS["flash-sale"]).rows
    sold = np.bincount(rows.event[rows.origin < 0])

    assert sold.max() > 0.2 * len(rows)
    assert np.median(sold[sold > 0]) < 0.02 * len(rows)


def test_drift_moves_amounts_and_ways_to_pay_by_its_level(made: Made) -> None:
    none, half, all_ = (planned(made, scenario_named("drift", level=level)).rows for level in (0.0, 0.5, 1.0))
    late = START_MS + 0.2 * SECONDS * 1000

    wallets = [np.mean(rows.method[rows.time_ms > late] == WALLET) for rows in (none, half, all_)]
    assert wallets[0] + 0.1 < wallets[1] < wallets[2] - 0.1
    medians = [np.median(rows.amount_minor[rows.time_ms > late]) for rows in (none, half, all_)]
    assert 1.5 * medians[0] < medians[1] < medians[2] / 1.5


def test_drift_of_level_nothing_has_nothing_to_find() -> None:
    wanted = {
        level: [one for one in scenario_named("drift", level=level).tolerances if one.figure == "drift_found"]
        for level in (0.0, 0.3, 1.0)
    }

    assert wanted[0.0] == [Tolerance("drift_found", at_most=0)]
    assert wanted[0.3] == []
    assert wanted[1.0] == [Tolerance("drift_found", at_least=1)]


def test_a_mix_has_of_each_part_as_much_as_it_weighs() -> None:
    mixed = scenario_named("mix", weights={"fraud-attack": 1.0, "flash-sale": 3.0})

    assert [one.share for one in mixed.bursts] == [one.share / 4 for one in SCENARIOS["fraud-attack"].bursts]
    assert [one.share for one in mixed.crowds] == [0.75 * one.share for one in SCENARIOS["flash-sale"].crowds]


def test_an_adversarys_ways_are_planned_each_for_itself(made: Made) -> None:
    """Only one is at work at a time: the rate is made up for the loudest alone."""
    plan = planned(made, SCENARIOS["adaptive"])
    way = np.array([*plan.way, -1])[plan.rows.origin]

    by_way = np.bincount(way[way >= 0])
    assert len(by_way) == 4 and all(by_way[:-1] > by_way[1:] * 0.9)
    assert abs((way <= 0).sum() - RATE * SECONDS) < 0.1 * RATE * SECONDS


def test_rests_between_outages_are_longer_than_a_recovery_may_be() -> None:
    """A purchase that an outage marred is looked for until the next one begins; were that sooner, no recovery could be too late."""
    scenario = SCENARIOS["system-degradation"]
    (bound,) = (one.at_most for one in scenario.tolerances if one.figure == "recovery_s")
    assert bound is not None

    for one, after in pairwise([*scenario.outages, None]):
        rest = (after.start if after else 1.0) - one.start - one.length
        assert rest * scenario.least_s > 1.5 * bound, one
    assert {(one.dependency, one.fault) for one in scenario.outages} == {
        (dependency, fault) for dependency in ("store", "broker") for fault in ("slow", "hung", "refused")
    }


def watcher(**changes: float) -> Watcher:
    return Watcher(Adversary(start=0.0, length=1.0, share=0.1, **changes), pause_s=2.0)  # type: ignore[arg-type]


def test_an_adversary_that_is_refused_turns_careful_and_lies_low() -> None:
    crew = watcher()
    for at_s in range(6):
        assert crew.sends(0, at_s) and not crew.sends(1, at_s)
        crew.saw(0, "deny" if at_s % 3 else "approve", float(at_s))

    assert [(one.at_s, one.camouflage) for one in crew.moves] == [(5.0, 0.35)]
    assert not crew.sends(0, 6.0) and not crew.sends(1, 6.9) and crew.sends(1, 7.0)


def test_an_adversary_that_nobody_refuses_grows_bolder_again() -> None:
    crew = watcher()
    for at_s in range(6):
        crew.saw(0, "deny", at_s)
    for at_s in range(10, 22):
        crew.saw(1, "approve", at_s)

    assert [one.camouflage for one in crew.moves] == [0.35, 0.0]


def test_answers_to_a_way_it_has_left_are_old_news() -> None:
    crew = watcher()
    for at_s in range(6):
        crew.saw(0, "deny", at_s)
    for at_s in range(6, 30):
        crew.saw(0, "deny", at_s)

    assert len(crew.moves) == 1


def test_an_adversary_without_a_more_careful_way_goes_on() -> None:
    crew = watcher()
    for way in range(4):
        for at_s in range(20):
            crew.saw(way, "deny", at_s)

    assert [one.camouflage for one in crew.moves] == [0.35, 0.7, 1.0]


@pytest.mark.parametrize(
    ("at_least", "at_most", "value", "kept"),
    [
        (0.5, None, 0.5, Kept.YES),
        (0.5, None, 0.49, Kept.NO),
        (None, 10, 10, Kept.YES),
        (None, 10, 10.1, Kept.NO),
        (0.2, 0.7, 0.8, Kept.NO),
        (0.2, 0.7, None, Kept.UNMEASURED),
    ],
)
def test_a_tolerance_includes_its_bounds(
    at_least: float | None, at_most: float | None, value: float | None, kept: Kept
) -> None:
    assert judged([Tolerance("recall", at_least, at_most)], {"recall": value})[0].kept is kept


def test_a_tolerance_without_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="at_least or at_most"):
        Tolerance("recall")


def test_figures_are_those_counted_by_hand() -> None:
    """Seven of 123.45 dollars would pass or were denied: one honest and one fraud denied, four frauds in all, one without a decision."""
    figures = figures_of(run(MIXED), metrics_of(run(MIXED)), {"skew_mismatches": 0})

    assert figures["unanswered"] == pytest.approx(1 / 9, abs=1e-4)
    assert figures["errors_5xx"] == 0
    assert (figures["recall"], figures["recall.card_testing"], figures["recall.account_takeover"]) == (0.6667, 0.5, 0)
    assert figures["revenue_kept"] == 0.8
    assert figures["fraud_saved"] == 0.25
    assert (figures["skew_mismatches"], figures["drift_found"]) == (0, None)
    assert figures["recovery_s"] is None


def test_only_what_nobody_outside_can_measure_is_handed_in() -> None:
    assert set(HANDED_IN) == {"skew_mismatches", "skew_checked", "decisions_lost", "drift_found"}
    with pytest.raises(UnknownFigure, match="recall"):
        figures_of(run(MIXED), metrics_of(run(MIXED)), {"recall": 1.0})


def test_an_overload_that_is_told_is_no_failure() -> None:
    rows = [purchase(i, "none", error=f"status_{status}") for i, status in enumerate((500, 502, 503, 429))]

    assert figures_of(run(rows), metrics_of(run(rows)))["errors_5xx"] == 2


def test_recovery_is_counted_to_the_last_purchase_that_felt_the_outage() -> None:
    outages = [
        OutageBand(dependency="store", fault="hung", start_s=1.0, end_s=2.0),
        OutageBand(dependency="store", fault="slow", start_s=4.5, end_s=6.0),
    ]
    marred = {1, 2, 3, 5, 6}
    rows = [purchase(i, "approve", degraded_reasons=["store"] if i in marred else []) for i in range(9)]
    result = msgspec.structs.replace(run(rows), outages=outages)

    assert figures_of(result, metrics_of(result))["recovery_s"] == 1.0
