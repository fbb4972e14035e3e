"""The truth stays out of what the platform may see, and the look-alikes are really alike."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from simulator.campaigns import Campaign
from simulator.history import activity_of_day, generate_day
from simulator.kinds import Kind
from simulator.labels import Labels, Pace, labels_of
from simulator.spec import DAY_MS, stream
from simulator.tables import activity_columns
from simulator.truth import truth_of
from tests.simulator.worlds import SPEC, Made

OBSERVABLE = (
    "event_id", "promoter_id", "ip_country", "payment_method", "currency", "ticket_count", "tier", "category",
    "billing_country", "user_agent", "outcome",
)  # fmt: skip


def labelled(made: Made, campaigns: tuple[Campaign, ...], day: int) -> tuple[pa.Table, pa.Table, Labels]:
    """Observables and labels of one day, under a given register of campaigns."""
    attack = replace(made.attack, campaigns=campaigns)
    day_made = generate_day(made.world, made.names, attack, day)
    truth = truth_of(made.world, day_made.rows, campaigns)
    activity, _ = activity_of_day(made.world, day_made, made.world.events.sold_before)
    number = np.arange(len(activity), dtype=np.uint64)
    said = labels_of(day_made.rows, truth, Pace(), stream(SPEC, "labels", day))
    return (
        pa.table(day_made.columns),
        pa.table(activity_columns(made.world, made.names, activity, number)),
        said,
    )


@pytest.mark.parametrize(
    "kind", [kind for kind in Kind if kind is not Kind.GHOST_EVENTS]
)  # those are in live runs only
def test_turning_the_truth_around_changes_labels_and_no_observable(made: Made, kind: Kind) -> None:
    """Were any observable computed from the truth, it would follow when every verdict is inverted."""
    inverted = tuple(replace(campaign, is_fraud=not campaign.is_fraud) for campaign in made.attack.campaigns)
    day = busiest_day(made, kind)

    rows, activity, said = labelled(made, made.attack.campaigns, day)
    other_rows, other_activity, other_said = labelled(made, inverted, day)

    assert rows.equals(other_rows)
    assert activity.equals(other_activity)
    assert said.is_fraud.sum() > other_said.is_fraud.sum()


def busiest_day(made: Made, kind: Kind) -> int:
    """The day with most purchases of the kind."""
    mine = np.array([campaign.kind is kind for campaign in made.attack.campaigns])[made.attack.purchases.origin]
    day = (made.attack.purchases.time_ms[mine] - SPEC.start_ms) // DAY_MS
    return int(np.argmax(np.bincount(day)))


def test_the_lake_never_names_a_campaign_or_persona(made: Made) -> None:
    for name in ("transactions", "activity", "profiles"):
        columns = set(made.table(name).column_names)
        assert columns.isdisjoint({"is_fraud", "campaign", "persona", "origin", "browsing"})


def test_truth_has_one_row_for_each_transaction(made: Made) -> None:
    assert made.truth()["transaction_id"].to_pylist() == made.table("transactions")["transaction_id"].to_pylist()


@pytest.mark.parametrize("field", OBSERVABLE)
def test_no_value_of_a_field_is_fraud_only(made: Made, field: str) -> None:
    """Values seen thirty times or more always have honest bearers too."""
    fraud = made.truth()["is_fraud"].to_numpy(zero_copy_only=False)
    values, index = np.unique(made.table("transactions")[field].to_numpy(zero_copy_only=False), return_inverse=True)
    seen, bad = np.bincount(index), np.bincount(index, weights=fraud)

    telling = values[(seen >= 30) & (bad > 0.8 * seen)]

    assert telling.tolist() == []


@pytest.mark.parametrize("field", ["amount_minor", "ticket_count", "lat_e6", "lon_e6"])
def test_no_threshold_on_a_number_separates_fraud(made: Made, field: str) -> None:
    """The area under the ROC curve of a single field stays far from 1."""
    fraud = made.truth()["is_fraud"].to_numpy(zero_copy_only=False)
    value = made.table("transactions")[field].fill_null(0).to_numpy()
    rank = np.argsort(np.argsort(value, kind="stable"), kind="stable") + 1

    positives = fraud.sum()
    area = (rank[fraud].sum() - positives * (positives + 1) / 2) / (positives * (~fraud).sum())

    assert 0.15 < area < 0.85


def test_ids_have_no_order_that_tells(made: Made) -> None:
    """Hex ids of devices and transactions are mixed: sorting by them gathers no fraud."""
    fraud = made.truth()["is_fraud"].to_numpy(zero_copy_only=False)
    for field in ("transaction_id", "device_id", "card_token", "ip_token"):
        filled = made.table("transactions")[field].fill_null("")
        order = np.argsort(filled.to_numpy(zero_copy_only=False), kind="stable")
        assert fraud[order[: len(order) // 10]].sum() < 0.5 * fraud.sum()


def test_attackers_share_addresses_with_honest_people(made: Made) -> None:
    """At least a third of the frauds come from an address that somebody honest used too."""
    rows, fraud = made.table("transactions"), made.truth()["is_fraud"]
    honest = pc.unique(rows.filter(pc.invert(fraud))["ip_token"])

    shared = pc.is_in(rows.filter(fraud)["ip_token"], value_set=honest)

    assert pc.mean(shared.cast(pa.int64())).as_py() > 0.33


def test_card_testing_leaves_its_signature(made: Made) -> None:
    """Small amounts, many issuer declines, several cards on a device: what a detector may find."""
    rows = made.table("transactions").append_column("kind", made.truth()["kind"])
    tests = rows.filter(pc.equal(rows["kind"], "card_testing"))
    rest = rows.filter(pc.is_null(rows["kind"]))

    def declined(table: pa.Table) -> float:
        return float(pc.mean(pc.equal(table["outcome"], "declined_by_issuer").cast(pa.int64())).as_py())

    cards = tests.group_by("device_id").aggregate([("card_token", "count_distinct")])
    assert declined(tests) > 5 * declined(rest)
    assert declined(rest) > 0.02
    assert pc.approximate_median(tests["amount_minor"]).as_py() < pc.approximate_median(rest["amount_minor"]).as_py()
    assert pc.max(cards["card_token_count_distinct"]).as_py() >= 8


def test_labels_come_late_sometimes_never_and_sometimes_wrong(made: Made) -> None:
    labels, truth = (
        made.table("labels"),
        made.truth().rename_columns(["transaction_id", "bought_ms", "truly_fraud", "campaign", "kind", "persona"]),
    )
    both = labels.join(truth, "transaction_id")
    delay = pc.subtract(both["event_time_ms"], both["bought_ms"]).to_numpy()
    wrong = pc.not_equal(both["is_fraud"], both["truly_fraud"])
    spoken = len(pc.unique(both.filter(both["truly_fraud"])["transaction_id"]))

    assert delay.min() > 0
    assert np.median(delay) > 3_600_000
    assert pc.sum(wrong.cast(pa.int64())).as_py() > 0
    assert 0 < spoken < made.summary.fraud
    assert made.summary.labels_pending > 0
    assert set(labels["source"].to_pylist()) == {"chargeback", "manual_review", "operator"}


def test_legitimate_labels_are_few(made: Made) -> None:
    """Nobody says "this was fine" about an ordinary purchase; reviewers do about the odd one."""
    labels = made.table("labels")
    fine = labels.filter(pc.invert(labels["is_fraud"]))

    assert 0 < len(fine) < 0.05 * made.summary.transactions


def test_a_label_says_each_thing_once(made: Made) -> None:
    labels = made.table("labels")

    assert pc.count_distinct(labels["label_id"]).as_py() == len(labels)


def test_activity_has_views_counts_and_closings(made: Made) -> None:
    """Each kind carries the fields of its kind, and no others."""
    rows = made.table("activity")
    kinds = {kind: rows.filter(pc.equal(rows["kind"], kind)) for kind in ("view", "inventory", "event_closed")}

    assert len(kinds["view"]) > len(kinds["inventory"]) > len(kinds["event_closed"]) > 0
    assert pc.all(pc.xor(kinds["view"]["account_id"].is_valid(), kinds["view"]["device_id"].is_valid())).as_py()
    assert kinds["inventory"]["inventory"].null_count == 0
    assert kinds["event_closed"]["capacity"].null_count == kinds["event_closed"]["tickets_sold"].null_count == 0
    assert kinds["view"]["inventory"].null_count == len(kinds["view"])


def test_a_profile_version_knows_nothing_newer_than_itself(made: Made) -> None:
    rows = made.table("profiles")
    for field in ("created_at_ms", "address_changed_at_ms", "email_changed_at_ms", "phone_changed_at_ms"):
        assert pc.all(pc.less_equal(rows[field], rows["event_time_ms"])).as_py()
    assert set(rows["account_id"].to_pylist()) >= set(made.table("transactions")["account_id"].to_pylist())
