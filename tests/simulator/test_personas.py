"""People live as their persona is declared to, and some leave or sleep."""

import numpy as np
import pytest

from simulator.build import World, build_world
from simulator.history import purchases_of_day
from simulator.personas import PERSONAS
from simulator.plan import plan_attacks
from simulator.purchases import NO_CAMPAIGN, Purchases, concat
from simulator.spec import DAY_MS, WorldSpec
from simulator.world import Persona
from tests.simulator.worlds import SPEC, Made

MANY = WorldSpec(seed=3, start_ms=20_000 * DAY_MS, days=60, rate_per_day=500, accounts=30_000)


@pytest.fixture(scope="module")
def honest(made: Made) -> Purchases:
    """What was bought by nobody's campaign."""
    rows = concat([purchases_of_day(made.world, made.attack, day) for day in range(SPEC.days)])
    return rows.take(rows.origin == NO_CAMPAIGN)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(MANY)


@pytest.mark.parametrize("persona", list(Persona))
def test_shares_of_habits_add_up(persona: Persona) -> None:
    habits = PERSONAS[persona]

    for shares in (habits.ip, habits.device, habits.card, habits.method):
        assert sum(shares) == pytest.approx(1)
    assert len(habits.hours) == 24
    assert habits.leaves + habits.sleeps < 1
    assert sum(one.share for one in PERSONAS.values()) == pytest.approx(1)


@pytest.mark.parametrize("persona", list(Persona))
def test_people_have_the_habits_that_their_persona_declares(world: World, persona: Persona) -> None:
    people, habits = world.accounts, PERSONAS[persona]
    mine = people.persona == persona

    for drawn, shares in ((people.ip_habit, habits.ip), (people.card_habit, habits.card)):
        assert np.bincount(drawn[mine], minlength=4) / mine.sum() == pytest.approx(shares, abs=0.06)
    assert mine.mean() == pytest.approx(habits.share, abs=0.01)
    travels = people.trip_end_ms[mine] > people.trip_start_ms[mine]
    assert travels.mean() == pytest.approx(habits.travels, abs=0.06)


@pytest.mark.parametrize("persona", list(Persona))
def test_some_leave_and_some_sleep(world: World, persona: Persona) -> None:
    people, habits = world.accounts, PERSONAS[persona]
    length_days = (people.pause_end_ms - people.pause_start_ms)[people.persona == persona] / DAY_MS

    assert (length_days > 1_000).mean() == pytest.approx(habits.leaves, abs=0.03)
    assert ((length_days > 0) & (length_days < 60)).mean() == pytest.approx(habits.sleeps, abs=0.06)


def test_who_sleeps_buys_nothing_in_the_days_of_it(made: Made, honest: Purchases) -> None:
    """A day's buyers are those awake at its start; who opens an account on that day buys all the same."""
    people = made.world.accounts
    day_ms = honest.time_ms // DAY_MS * DAY_MS
    who = honest.account
    # A purchase is that of a visit of the day, or a retry within minutes of one, maybe past midnight.
    asleep = (people.pause_start_ms[who] <= day_ms - DAY_MS) & (day_ms < people.pause_end_ms[who])
    settled = people.created_ms[who] < day_ms - DAY_MS

    assert ((people.pause_end_ms > people.pause_start_ms) & (people.pause_start_ms < SPEC.end_ms)).sum() > 100
    assert not (asleep & settled).any()


def test_very_important_people_sit_better_than_casual_ones(made: Made, honest: Purchases) -> None:
    persona = made.world.accounts.persona[honest.account]

    assert honest.tier[persona == Persona.VIP].mean() > 2 * honest.tier[persona == Persona.CASUAL].mean()
    assert honest.tickets[persona == Persona.SCALPER].mean() > 2 * honest.tickets[persona == Persona.CASUAL].mean()


def test_whose_account_was_bought_with_a_past_slept(world: World) -> None:
    """A fraudster's account is asleep more often than anybody else's."""
    people = world.accounts
    sleeps = people.pause_end_ms > people.pause_start_ms

    assert sleeps[people.persona == Persona.FRAUDSTER].mean() > 1.3 * sleeps[people.persona != Persona.FRAUDSTER].mean()


def test_the_attacks_of_a_world_are_planned_alike_twice(made: Made) -> None:
    assert np.array_equal(plan_attacks(made.world).purchases.account, made.attack.purchases.account)
