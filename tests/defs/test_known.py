"""What a training as of a day knows."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fraud_assets.contracts.events import Transaction
from fraud_assets.defs.resources import resources_of
from fraud_assets.defs.training.assets import _known_until_ms
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.streaming.events import transaction


def day_of(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).date().isoformat()


@pytest.mark.parametrize("knows", ["midnight", "log_end"])
def test_only_as_of_the_day_that_goes_on_may_more_be_known_than_at_its_midnight(tmp_path: Path, knows: str) -> None:
    """To the newest arrival: what the clock says meanwhile changes nothing."""
    settings = Settings(var_dir=tmp_path, training_as_of=knows)
    lake = resources_of(settings)["lake"]
    today = day_of(time.time_ns() // 1_000_000)
    arrived_ms = start_ms(today) + 5
    row = from_events(
        Transaction,
        [transaction(event_time_ms=start_ms(today) + 1)],
        [LogPosition(arrived_ms, "transactions.v1", 0, 0)],
    )
    Lake(settings.lake_uri).append("transactions", row, "one")
    yesterday = (datetime.fromisoformat(today) - timedelta(days=1)).date().isoformat()

    assert _known_until_ms(lake, today, settings) == (arrived_ms + 1 if knows == "log_end" else start_ms(today))
    assert _known_until_ms(lake, yesterday, settings) == start_ms(yesterday)


def test_a_log_of_which_nothing_arrived_today_is_known_to_midnight(tmp_path: Path) -> None:
    settings = Settings(var_dir=tmp_path, training_as_of="log_end")
    today = day_of(time.time_ns() // 1_000_000)

    assert _known_until_ms(resources_of(settings)["lake"], today, settings) == start_ms(today)
