"""The skew report and its checks in a Dagster instance, of days on which decisions were made."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import msgspec
import pytest

from fraud_assets.contracts.events import Decision
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.defs.monitoring.assets import _judged, skew_report
from fraud_assets.defs.resources import resources_of
from fraud_assets.monitoring.skew import SkewReport
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.history import END_MS, LAST_DAY, Past
from tests.monitoring.decisions import decided_at, other_value

pytestmark = pytest.mark.timeout(600)  # kernels may have to be compiled first

CUT_MS = END_MS - DAY_MS // 2
N = 12
FEATURE = "account_txn_count_30d"


class Report(Protocol):
    """Materializes the last day after the decisions were written: the asset's metadata, its checks by name."""

    def __call__(
        self, decisions: Sequence[Decision]
    ) -> tuple[Mapping[str, Any], Mapping[str, dg.AssetCheckEvaluation]]: ...


@pytest.fixture(scope="module")
def decisions(past: Past) -> list[Decision]:
    return decided_at(past, CUT_MS, END_MS, N)[1]


@pytest.fixture
def report(past: Past, tmp_path: Path) -> Report:
    shutil.copytree(past.folder / "lake", tmp_path / "lake")

    def make(decisions: Sequence[Decision]) -> tuple[Mapping[str, Any], Mapping[str, dg.AssetCheckEvaluation]]:
        at = [LogPosition(END_MS, "decisions.v1", 0, place) for place in range(len(decisions))]
        Lake(tmp_path / "lake").append("decisions", from_events(Decision, decisions, at), "decided")
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(
                [skew_report],
                resources=resources_of(Settings(var_dir=tmp_path)),
                instance=instance,
                partition_key=LAST_DAY,
            )
        checks = {item.check_name: item for item in result.get_asset_check_evaluations()}
        return result.asset_materializations_for_node("skew_report")[0].metadata, checks

    return make


def test_honest_decisions_pass(decisions: list[Decision], report: Report) -> None:
    metadata, checks = report(decisions)

    assert (metadata["checked"].value, metadata["mismatches"].value) == (N, 0)
    assert checks["no_mismatches"].passed
    assert checks["no_mismatches"].metadata["mismatched_features"].value == {}
    assert checks["no_stale_reads"].passed


def test_one_value_that_the_log_does_not_give_is_an_error_that_names_feature_and_decision(
    past: Past, decisions: list[Decision], report: Report
) -> None:
    doctored = [*decisions[:3], other_value(past, decisions[3], FEATURE), *decisions[4:]]

    metadata, checks = report(doctored)

    check = checks["no_mismatches"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert (check.metadata["mismatches"].value, check.metadata["checked"].value) == (1, N)
    for shown in (metadata, check.metadata):
        assert shown["mismatched_features"].value == {FEATURE: 1}
        assert shown["mismatched_decisions"].value == [decisions[3].decision_id]


def test_a_decision_without_a_vector_of_the_service_is_an_error_that_names_it(
    decisions: list[Decision], report: Report
) -> None:
    metadata, checks = report([msgspec.structs.replace(decisions[0], vector=bytes(7)), *decisions[1:]])

    check = checks["no_mismatches"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert (check.metadata["mismatches"].value, check.metadata["other_vectors"].value) == (1, 1)
    assert check.metadata["mismatched_decisions"].value == [decisions[0].decision_id]
    assert metadata["other_vectors"].value == 1


def test_a_decision_whose_states_are_none_warns_and_the_others_are_checked(
    decisions: list[Decision], report: Report
) -> None:
    read = decisions[0].states_read
    assert read is not None
    torn = msgspec.structs.replace(decisions[0], states_read=msgspec.structs.replace(read, partition_bits=99))

    metadata, checks = report([torn, *decisions[1:]])

    check = checks["states_readable"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["unreadable"].value == metadata["unreadable"].value == 1
    assert checks["no_mismatches"].passed
    assert metadata["checked"].value == N - 1


def test_a_report_made_again_says_the_same(past: Past, decisions: list[Decision], report: Report) -> None:
    doctored = [other_value(past, decisions[0], FEATURE), *decisions[1:]]

    first, again = report(doctored)[0], report(doctored)[0]

    assert first["mismatches"].value == 1
    assert first["dagster/row_count"].value == N
    assert again == first


def test_a_stale_read_warns_and_is_no_mismatch(decisions: list[Decision], report: Report) -> None:
    late = [msgspec.structs.replace(decision, decided_at_ms=END_MS) for decision in decisions]

    _, checks = report(late)

    assert checks["no_mismatches"].passed
    assert not checks["no_stale_reads"].passed
    assert checks["no_stale_reads"].severity is dg.AssetCheckSeverity.WARN
    assert checks["no_stale_reads"].metadata["stale_reads"].value == N


def test_a_decision_whose_transaction_never_came_warns(decisions: list[Decision], report: Report) -> None:
    _, checks = report(decisions)  # their transactions are imported, not of the live topic

    check = checks["no_missing_decisions"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["extra"].value == N


def test_decisions_that_may_have_read_erased_events_are_a_warning() -> None:
    judged = {one.check_name: one for one in _judged(SkewReport(erased=1))}

    assert not judged["no_mismatches"].passed and judged["no_mismatches"].severity is dg.AssetCheckSeverity.WARN
    assert _judged(SkewReport(erased=1, mismatches=1))[0].severity is dg.AssetCheckSeverity.ERROR
