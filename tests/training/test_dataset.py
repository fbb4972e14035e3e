"""Training sets as of a time: what was known then, whatever arrives later."""

import dataclasses
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fraud_assets.contracts.events import Decision, Label, LabelSource, StatesRead
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from fraud_assets.training import store
from fraud_assets.training.dataset import (
    NoLabels,
    TrainingSet,
    Window,
    after_warm_up,
    table_schema,
    training_set,
    window_as_of,
)
from fraud_assets.training.verdicts import verdicts
from tests.history import DAYS, LABEL_DELAY_DAYS, START_MS, Past, make_past

AS_OF_MS = START_MS + (DAYS - 4) * DAY_MS
WINDOW = window_as_of(AS_OF_MS, 90, LABEL_DELAY_DAYS)


@pytest.fixture(scope="module")
def built(past: Past) -> TrainingSet:
    return training_set(past.lake, past.service, WINDOW)


def facts(*rows: tuple[str, str, bool, int]) -> pa.Table:
    names = ("account_id", "transaction_id", "is_fraud", "sign")
    return pa.table({name: pa.array([row[place] for row in rows]) for place, name in enumerate(names)})


def test_rows_end_a_label_delay_before_the_as_of_time(built: TrainingSet) -> None:
    times = built.rows["event_time_ms"].to_numpy()

    assert times.max() < AS_OF_MS - LABEL_DELAY_DAYS * DAY_MS
    assert 0 < built.is_fraud.sum() < len(built)


def test_rebuilt_as_known_then_after_later_data_has_the_same_digest(
    past: Past, built: TrainingSet, tmp_path: Path
) -> None:
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    old = lake.scan("transactions", WINDOW.from_ms, WINDOW.to_ms)
    late = old.slice(0, 200)
    ids = pc.binary_join_element_wise(late["transaction_id"], "late", "-")
    changed = {
        "transaction_id": ids,
        "ingested_at_ms": pa.array(np.full(200, AS_OF_MS)),
        "source_topic": pa.array(["transactions.v1"] * 200),
    }
    for name, column in changed.items():
        late = late.set_column(late.schema.names.index(name), name, column)
    lake.append("transactions", late, "late")
    verdict = lake.scan("label_facts").slice(0, 100)
    for name, column in {
        "ingested_at_ms": pa.array(np.full(100, AS_OF_MS + 1)),
        "is_fraud": pc.invert(verdict["is_fraud"]),
        "source_offset": pa.array(np.arange(100) + (AS_OF_MS << 20)),
    }.items():
        verdict = verdict.set_column(verdict.schema.names.index(name), name, column)
    lake.append("label_facts", verdict, "later")

    again = training_set(lake, past.service, WINDOW)
    as_known_later = training_set(lake, past.service, dataclasses.replace(WINDOW, as_of_ms=AS_OF_MS + DAY_MS))

    assert again.digest == built.digest
    assert as_known_later.digest != built.digest


def test_fraud_by_day_is_counted_over_the_whole_window_and_is_unknown_on_a_day_without_rows() -> None:
    rows = pa.table({"event_time_ms": [START_MS, START_MS + DAY_MS - 1, START_MS + 2 * DAY_MS]})
    window = Window(START_MS + 9 * DAY_MS, START_MS, START_MS + 3 * DAY_MS)
    found = TrainingSet(window, (), rows, np.empty((3, 0), np.float32), np.array([True, False, False]), 0)

    np.testing.assert_array_equal(found.fraud_share_by_day(), np.array([0.5, np.nan, 0.0], np.float32))


def test_the_columns_of_a_set_are_known_before_it_is_made(past: Past, built: TrainingSet) -> None:
    foretold = table_schema(past.service.names, past.lake.schema("transactions"))

    assert foretold.equals(built.table().schema)


def test_a_set_survives_its_file(built: TrainingSet, tmp_path: Path) -> None:
    store.save(str(tmp_path), "2026-10-11", built)

    loaded = store.load(str(tmp_path), "2026-10-11")

    assert loaded.digest == built.digest
    assert loaded.window == built.window


def test_facts_written_day_by_day_or_at_once_are_the_same(tmp_path: Path) -> None:
    whole, daily = make_past(tmp_path / "a", rate_per_day=60), make_past(tmp_path / "b", rate_per_day=60, facts=False)
    for day in range(DAYS):
        write_imported_facts(daily.lake, START_MS + day * DAY_MS, START_MS + (day + 1) * DAY_MS, LABEL_DELAY_DAYS)
    write_imported_facts(daily.lake, START_MS, START_MS + DAY_MS, LABEL_DELAY_DAYS)

    assert daily.lake.scan("label_facts").equals(whole.lake.scan("label_facts"))


def test_a_window_without_verdicts_says_so_and_names_the_way_out(past: Past) -> None:
    with pytest.raises(NoLabels, match="Materialize label_facts"):
        training_set(past.lake, past.service, window_as_of(START_MS + 60_000, 90, 0))


def test_a_retraction_takes_its_fact_back() -> None:
    known = verdicts(
        facts(
            ("x", "a", True, 1), ("x", "b", True, 1), ("x", "b", True, -1), ("x", "b", False, 1),
            ("x", "c", False, 1), ("x", "c", False, -1),
        )
    )  # fmt: skip

    assert known == {"x\x00a": 1, "x\x00b": 0}


def test_one_id_of_two_accounts_is_two_transactions() -> None:
    """Ids are the client's own; the fraud of one must not be learnt of the other."""
    known = verdicts(facts(("x", "order-1", True, 1), ("y", "order-1", False, 1)))

    assert known == {"x\x00order-1": 1, "y\x00order-1": 0}


def test_a_decision_counts_for_its_own_account_only(past: Past, built: TrainingSet, tmp_path: Path) -> None:
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    row = built.rows.slice(0, 1)
    another = row.set_column(row.schema.names.index("account_id"), "account_id", pa.array(["somebody-else"]))
    lake.append("decisions", _decision(past, another, self_included=True), "decided")

    assert training_set(lake, past.service, WINDOW).digest == built.digest


def test_a_decision_that_had_seen_its_transaction_is_left_out(past: Past, built: TrainingSet, tmp_path: Path) -> None:
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    seen = built.rows["transaction_id"][0].as_py()
    lake.append("decisions", _decision(past, built.rows.slice(0, 1), self_included=True), "decided")

    without = training_set(lake, past.service, WINDOW)

    assert len(without) == len(built) - 1
    assert seen not in without.rows["transaction_id"].to_pylist()


def test_a_decided_transaction_is_read_at_the_position_its_decision_logged(
    past: Past, built: TrainingSet, tmp_path: Path
) -> None:
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    last = len(built) - 1
    lake.append("decisions", _decision(past, built.rows.slice(last, 1), self_included=False), "decided")

    served = training_set(lake, past.service, WINDOW)

    # Its decision had found an empty store, so it must train as an account nobody knew.
    place = built.names.index("account_txn_count_30d")
    assert served.served == 1
    assert np.isnan(served.features[last, place])
    assert built.features[last, place] >= 0
    assert np.array_equal(served.features[:last], built.features[:last], equal_nan=True)


def test_a_decision_whose_states_are_none_costs_its_own_row_and_is_counted(
    past: Past, built: TrainingSet, tmp_path: Path
) -> None:
    """One torn record must not cost the whole set; nor may its row pass for one that nobody had decided."""
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    torn = StatesRead(
        groups=["account"],
        keys=["a1"],
        versions=[1],
        positions=[bytes(15)],
        topics=["transactions.v1"],
        partition_bits=8,
    )
    decided = _decision(past, built.rows.slice(0, 1), self_included=False, states_read=torn)
    lake.append("decisions", decided, "decided")

    without = training_set(lake, past.service, WINDOW)
    store.save(str(tmp_path), "2026-10-11", without)

    assert (len(without), without.unreadable, built.unreadable) == (len(built) - 1, 1, 0)
    assert built.rows["transaction_id"][0].as_py() not in without.rows["transaction_id"].to_pylist()
    assert np.array_equal(without.features, built.features[1:], equal_nan=True)
    assert store.load(str(tmp_path), "2026-10-11").unreadable == 1


def test_a_repeated_request_changes_nothing_that_is_learnt(past: Past, built: TrainingSet, tmp_path: Path) -> None:
    """The first decision was acted on; what the second saw, itself even, came after."""
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    row = built.rows.slice(len(built) - 1, 1)
    lake.append("decisions", _decision(past, row, self_included=False), "decided")
    once = training_set(lake, past.service, WINDOW)
    lake.append("decisions", _decision(past, row, self_included=True, offset=1), "decided-again")

    twice = training_set(lake, past.service, WINDOW)

    assert (len(twice), twice.digest) == (len(built), once.digest)


@pytest.mark.parametrize("digest", ["", "of another commit"])
def test_who_was_denied_and_never_spoken_of_trains_nothing(
    past: Past, built: TrainingSet, tmp_path: Path, digest: str
) -> None:
    """Nobody complains of what he did not pay: its silence would teach that what we deny is legitimate. A reported fraud stays."""
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    good, fraud = (int(np.flatnonzero(built.is_fraud == is_fraud)[-1]) for is_fraud in (False, True))
    for place in (good, fraud):
        decided = _decision(
            past, built.rows.slice(place, 1), self_included=False, offset=place, action="deny", digest=digest
        )
        lake.append("decisions", decided, f"decided-{place}")

    found = training_set(lake, past.service, WINDOW)
    store.save(str(tmp_path), "2026-10-11", found)

    ids = found.rows["transaction_id"].to_pylist()
    assert (len(found), found.unspoken, built.unspoken) == (len(built) - 1, 1, 0)
    assert built.rows["transaction_id"][good].as_py() not in ids and built.rows["transaction_id"][fraud].as_py() in ids
    assert store.load(str(tmp_path), "2026-10-11").unspoken == 1


def test_who_was_denied_and_cleared_by_a_person_trains_as_legitimate(
    past: Past, built: TrainingSet, tmp_path: Path
) -> None:
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    row = built.rows.slice(int(np.flatnonzero(~built.is_fraud)[-1]), 1)
    lake.append("decisions", _decision(past, row, self_included=False, action="deny"), "decided")
    account_id, transaction_id, at = (
        row[name][0].as_py() for name in ("account_id", "transaction_id", "event_time_ms")
    )
    cleared = Label(
        event_time_ms=at + 1, label_id="cleared", transaction_id=transaction_id, account_id=account_id,
        source=LabelSource.OPERATOR, is_fraud=False,
    )  # fmt: skip
    lake.append("labels", from_events(Label, [cleared], [LogPosition(at + 1, "labels.v1", 0, 0)]), "cleared")

    assert len(training_set(lake, past.service, WINDOW)) == len(built)


def _decision(
    past: Past,
    row: pa.Table,
    *,
    self_included: bool,
    offset: int = 0,
    states_read: StatesRead | None = None,
    action: str = "approve",
    digest: str = "",
) -> pa.Table:
    at = row["event_time_ms"][0].as_py()
    decision = Decision(
        event_time_ms=at, decision_id=f"d{offset}", transaction_id=row["transaction_id"][0].as_py(), account_id=row["account_id"][0].as_py(),
        request={}, decided_at_ms=at, service="fraud_scoring", service_digest=digest or past.plan.registry.service_digest(past.service.service),
        policy_digest="", model_version="", model_sha256="", epoch="e", features=[], view_status={}, states=[], fraud_score=0.0,
        action=action, reason_codes=[], degraded_reasons=[], self_included=self_included, latency_ms=0.0, states_read=states_read,
    )  # fmt: skip
    return from_events(Decision, [msgspec.structs.replace(decision)], [LogPosition(at, "decisions.v1", 0, offset)])


def test_the_first_days_of_the_log_train_nothing() -> None:
    """Where the window reaches back to them; one that begins later is as it was."""
    window = window_as_of(START_MS + 30 * DAY_MS, 90, 7)
    first_day = str(np.datetime64(START_MS, "ms"))[:10]

    warm = after_warm_up(window, first_day, 7)

    assert (warm.from_ms, warm.to_ms) == (START_MS + 7 * DAY_MS, START_MS + 23 * DAY_MS)
    assert after_warm_up(dataclasses.replace(window, from_ms=START_MS + 9 * DAY_MS), first_day, 7).from_ms == (
        START_MS + 9 * DAY_MS
    )


def test_a_log_that_is_all_warm_up_says_so_and_names_the_way_out() -> None:
    first_day = str(np.datetime64(START_MS, "ms"))[:10]

    with pytest.raises(NoLabels, match=rf"begins on {first_day}; its first 7 days .*FRAUD_WARM_UP_DAYS"):
        after_warm_up(window_as_of(START_MS + 14 * DAY_MS, 90, 7), first_day, 7)
