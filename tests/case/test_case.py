"""A payment's case says what the lake has of it, no more than was known then, and what to do where there is none."""

import shutil
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pytest

from fraud_assets.case.__main__ import main
from fraud_assets.case.find import NoCase, find_case
from fraud_assets.contracts.events import Decision, Explanation, Label, LabelSource
from fraud_assets.policy.reasons import TEXTS, ReasonCode
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.history import END_MS, Past
from tests.monitoring.decisions import decided_at, explanation_of

DAY_MS = 86_400_000
CUT_MS = END_MS - 2 * DAY_MS
FEATURE, OTHER = "account_txn_count_24h", "device_txn_count_24h"


@pytest.fixture(scope="module")
def decided(past: Past) -> Decision:
    """One with a past of its own, denied."""
    _, decisions = decided_at(past, CUT_MS, END_MS, 40)
    known = past.lake.scan("transactions", to_ms=CUT_MS)["account_id"].to_pylist()
    one = max(decisions, key=lambda decision: known.count(decision.account_id))
    return msgspec.structs.replace(
        one, action="deny", fraud_score=0.93, reason_codes=["SHARED_DEVICE"], decided_at_ms=one.event_time_ms
    )


@pytest.fixture
def lake(past: Past, decided: Decision, tmp_path: Path) -> Lake:
    """The history, with the decision, its explanation and a label."""
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    at = decided.decided_at_ms + 1000
    lake.append("decisions", from_events(Decision, [decided], [LogPosition(at, "decisions.v1", 0, 0)]), "one")
    by = [0.0] * len(past.service.names)
    by[past.service.names.index(FEATURE)], by[past.service.names.index(OTHER)] = -0.5, 2.5
    told = msgspec.structs.replace(explanation_of(decided), contributions=by)
    lake.append("explanations", from_events(Explanation, [told], [LogPosition(at, "explanations.v1", 0, 0)]), "one")
    label = Label(
        label_id="case-1", event_time_ms=at, transaction_id=decided.transaction_id, account_id=decided.account_id,
        source=LabelSource.MANUAL_REVIEW, is_fraud=True,
    )  # fmt: skip
    lake.append("labels", from_events(Label, [label], [LogPosition(at, "labels.v1", 0, 10**9)]), "one")
    return lake


def test_what_came_before_is_what_sql_finds(past: Past, lake: Lake, decided: Decision) -> None:
    found = find_case(lake, past.plan.registry, decided.transaction_id, days=7)

    asked = decided.request
    by_hand = duckdb.sql(
        f"""
        SELECT DISTINCT account_id, transaction_id, event_time_ms FROM read_parquet('{lake.glob("transactions")}')
        WHERE NOT is_duplicate AND ingested_at_ms < {decided.decided_at_ms}
          AND event_time_ms >= {decided.event_time_ms - 7 * DAY_MS} AND event_time_ms < {decided.event_time_ms}
          AND (account_id = '{asked["account_id"]}' OR card_token = '{asked["card_token"]}'
               OR device_id = '{asked["device_id"]}' OR ip_token = '{asked["ip_token"]}')
        """
    ).fetchall()
    earlier = [(one.payment.account_id, one.payment.transaction_id, one.payment.event_time_ms) for one in found.earlier]
    assert sorted(earlier) == sorted(by_hand)
    assert len(earlier) > 2
    times = [time for _, _, time in earlier]
    assert times == sorted(times, reverse=True)
    assert all(("account" in one.shares) == (one.payment.account_id == decided.account_id) for one in found.earlier)


def test_verdicts_of_what_came_before_are_the_label_stages(past: Past, lake: Lake, decided: Decision) -> None:
    found = find_case(lake, past.plan.registry, decided.transaction_id)

    facts = past.lake.scan("label_facts", columns=["transaction_id", "account_id", "is_fraud"]).to_pylist()
    verdicts = {(fact["account_id"], fact["transaction_id"]): fact["is_fraud"] for fact in facts}
    assert any(one.is_fraud is not None for one in found.earlier)
    for one in found.earlier:
        assert one.is_fraud == verdicts.get((one.payment.account_id, one.payment.transaction_id))


def test_what_moved_the_score_has_its_names_and_values_the_largest_first(
    past: Past, lake: Lake, decided: Decision
) -> None:
    found = find_case(lake, past.plan.registry, decided.transaction_id)

    assert [(one.feature, one.by) for one in found.moved] == [(OTHER, 2.5), (FEATURE, -0.5)]
    served = np.frombuffer(decided.vector or b"", "<f4")[past.service.names.index(OTHER)]
    assert found.moved[0].value == (None if np.isnan(served) else served)


def test_a_payment_without_a_decision_or_of_somebody_else_is_said(past: Past, lake: Lake, decided: Decision) -> None:
    with pytest.raises(NoCase, match="no decision of nobodys-order"):
        find_case(lake, past.plan.registry, "nobodys-order")
    with pytest.raises(NoCase, match=f"of nobody; it is one of {decided.account_id}"):
        find_case(lake, past.plan.registry, decided.transaction_id, "nobody")


def test_one_id_of_two_accounts_asks_which(past: Past, lake: Lake, decided: Decision) -> None:
    other = msgspec.structs.replace(decided, account_id="another", decision_id="dec-of-another")
    position = LogPosition(decided.decided_at_ms + 2000, "decisions.v1", 1, 0)
    lake.append("decisions", from_events(Decision, [other], [position]), "two")

    with pytest.raises(NoCase, match="say which with --account"):
        find_case(lake, past.plan.registry, decided.transaction_id)
    assert find_case(lake, past.plan.registry, decided.transaction_id, "another").decision == other


def test_the_command_says_why_and_what_is_known_since(
    lake: Lake, decided: Decision, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAUD_LAKE_URI", lake.uri)

    assert main([decided.transaction_id]) == 0

    said = capsys.readouterr().out
    for words in ("deny", "score 0.930", TEXTS[ReasonCode.SHARED_DEVICE], OTHER, "+2.50", "manual_review: fraud"):
        assert words in said


def test_a_label_of_another_accounts_payment_of_that_id_is_not_this_ones(
    past: Past, lake: Lake, decided: Decision
) -> None:
    other = Label(
        label_id="case-2", event_time_ms=decided.decided_at_ms + 5000, transaction_id=decided.transaction_id,
        account_id="another", source=LabelSource.CHARGEBACK, is_fraud=True,
    )  # fmt: skip
    position = LogPosition(decided.decided_at_ms + 5000, "labels.v1", 0, 10**9 + 1)
    lake.append("labels", from_events(Label, [other], [position]), "two")

    found = find_case(lake, past.plan.registry, decided.transaction_id, decided.account_id)

    assert [label.label_id for label in found.labels] == ["case-1"]


def test_what_looks_like_markup_is_shown_as_it_is(
    lake: Lake, decided: Decision, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAUD_LAKE_URI", lake.uri)
    odd = msgspec.structs.replace(
        decided,
        transaction_id="order[/b]",
        account_id="[green]anna",
        decision_id="dec-odd",
        reason_codes=["NEWER_CODE"],
    )
    position = LogPosition(decided.decided_at_ms + 3000, "decisions.v1", 2, 0)
    lake.append("decisions", from_events(Decision, [odd], [position]), "odd")

    assert main(["order[/b]"]) == 0

    said = capsys.readouterr().out
    assert "order[/b]" in said and "[green]anna" in said and "NEWER_CODE" in said


def test_the_command_without_a_case_ends_with_two(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAUD_LAKE_URI", lake.uri)

    assert main(["nobodys-order"]) == 2
    assert "NoCase" in capsys.readouterr().err
