"""Folds of days, kept: on a folder and on an object store, under names that are digests of what is in them."""

import pytest

from fraud_assets.contracts.chain_fold import Apart, Day, Run
from fraud_assets.contracts.events import Decision
from fraud_assets.stores.chain_days import FOLDER, FORMAT, ChainDays, Index, KeptDay, listed_days
from fraud_assets.stores.decision_chains import fold_day
from fraud_assets.stores.files import open_files
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.contracts.test_chain import chain

DAY = "2026-09-21"


@pytest.fixture
def lake(lake_uri: str) -> Lake:
    return Lake(lake_uri)


def write(lake: Lake, count: int) -> None:
    at = [LogPosition(1_790_000_000_000, "decisions.v1", 0, n) for n in range(count)]
    lake.append("decisions", from_events(Decision, chain(count), at), "part", rewrite=True)


def test_what_was_put_is_there_under_its_name_until_it_is_dropped(lake: Lake) -> None:
    store = ChainDays(lake.uri)
    run = Run(1, 3, "", "a" * 64, "d3", 7, {0: (1, 2), 3: (5, 5)}, alone=True, is_whole=False)
    day = Day({"c": [run]}, 2, 7, {"c": [Apart(1, 2), Apart(1, 3, 0, 9)]})

    fold = store.put(day)
    index = store.put(Index(FORMAT, 3, {DAY: KeptDay("f", fold, 3)}))

    assert store.fold(fold) == day
    assert store.index(index).days == {DAY: KeptDay("f", fold, 3)}
    store.drop_others([index])
    assert (store.fold(fold), store.index(index).night) == (None, 3)


def test_a_folder_that_somebody_left_among_them_stops_no_night(lake: Lake) -> None:
    """As a notebook leaves its checkpoints wherever it is opened."""
    store = ChainDays(lake.uri)
    fold = store.put(Day({}, 0, 0, {}))
    files = open_files(lake.uri)
    files.filesystem.create_dir(f"{files.root}/{FOLDER}/.ipynb_checkpoints")

    store.drop_others([])

    assert store.fold(fold) is None


def test_what_is_not_there_or_of_another_format_is_no_night(lake: Lake) -> None:
    store = ChainDays(lake.uri)
    newer = store.put(Index(FORMAT + 1, 3, {DAY: KeptDay("f", "g", 3)}))
    fold = store.put(Day({}, 0, 0, {}))

    assert [store.index(name).days for name in ("", "0" * 64, newer, fold)] == [{}] * 4


def test_a_day_that_gets_other_files_is_listed_as_another(lake: Lake) -> None:
    assert listed_days(lake) == {}
    write(lake, 4)
    first = listed_days(lake)

    write(lake, 5)

    assert listed_days(lake).keys() == first.keys() == {DAY}
    assert listed_days(lake) != first


def test_a_whole_day_folds_into_one_run(lake: Lake) -> None:
    write(lake, 20)

    day = fold_day(lake, DAY, {})

    assert [(run.first, run.last) for run in day.runs["c"]] == [(1, 20)]
    assert (day.unchained, day.newest_ms, day.apart) == (0, 1_790_000_000_000, {})
