"""Which day is late, on a real instance."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine

from fraud_assets.defs.freshness import AS_OF, DAYS_BACK, freshness, judge, last_deadline

VIEW, MODEL = dg.AssetKey("account_amounts"), dg.AssetKey("fraud_model")
DEADLINE = datetime(2026, 11, 28, 5, tzinfo=UTC)
# In the night before the deadline, and after the end of the day before.
NIGHT = DEADLINE - timedelta(hours=3)
ITS_DAY, DAY_BEFORE = "2026-11-28", "2026-11-27"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance for which it is that night, at whatever hour the test runs."""
    with time_machine.travel(NIGHT, tick=True), dg.instance_for_test() as made:
        yield made


def make(instance: dg.DagsterInstance, asset: dg.AssetKey, day: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=day))


def test_a_view_is_due_for_the_day_that_ended_and_a_model_for_the_one_that_begins(
    instance: dg.DagsterInstance,
) -> None:
    make(instance, VIEW, DAY_BEFORE)
    make(instance, MODEL, ITS_DAY)

    assert judge(instance, VIEW, DEADLINE).passed
    assert judge(instance, MODEL, DEADLINE).passed


def test_a_day_that_is_missing_is_named_and_no_other_day_stands_for_it(instance: dg.DagsterInstance) -> None:
    make(instance, VIEW, ITS_DAY)
    make(instance, MODEL, DAY_BEFORE)

    late = judge(instance, VIEW, DEADLINE), judge(instance, MODEL, DEADLINE)

    assert [one.passed for one in late] == [False, False]
    assert DAY_BEFORE in str(late[0].description)
    assert ITS_DAY in str(late[1].description)


def test_nothing_was_due_of_an_asset_that_is_younger_than_the_deadline(instance: dg.DagsterInstance) -> None:
    """A platform of this morning is not late with last night."""
    make(instance, VIEW, ITS_DAY)

    assert judge(instance, VIEW, last_deadline(NIGHT)).passed


def test_a_day_that_was_made_before_it_ended_is_not_there(instance: dg.DagsterInstance) -> None:
    """Today is a partition too; tonight it has to be made again."""
    tomorrow = DEADLINE + timedelta(days=1)
    make(instance, VIEW, ITS_DAY)
    make(instance, MODEL, tomorrow.date().isoformat())

    found = judge(instance, VIEW, tomorrow)

    assert not found.passed
    assert "before it ended" in str(found.description)
    assert judge(instance, MODEL, tomorrow).passed


def test_what_was_never_made_is_late(instance: dg.DagsterInstance) -> None:
    found = judge(instance, VIEW, DEADLINE)

    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN


def test_the_last_deadline_is_today_from_five_on() -> None:
    day = datetime(2026, 11, 28, tzinfo=UTC)

    assert last_deadline(day + timedelta(hours=4, minutes=59)) == day - timedelta(hours=19)
    assert last_deadline(day + timedelta(hours=5)) == day + timedelta(hours=5)


def test_every_check_says_which_day_it_asks_for() -> None:
    assert {key.asset_key.to_user_string() for key in freshness.check_keys} == set(DAYS_BACK)
    assert {name for name, back in DAYS_BACK.items() if back == 0} == set(AS_OF)
