"""A backfill as the Dagster UI makes it: webserver, daemon and code server of `make up`, and the mutation of the dialog.

*Materialize…* over a range sends `launchPartitionBackfill` with the asset's key and the chosen partitions.
"""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from deploy.local.stack import Stack, running
from tests.history import LABEL_DELAY_DAYS, Past, make_past

# Ten times what it takes on two idle cores.
WITHIN_S = 300
ASSET = "account_recency"  # the cheapest view; its rows are files that can be compared
DAYS = ["2026-10-03", "2026-10-04", "2026-10-05"]
GOING_ON = {"REQUESTED", "COMPLETING", "FAILING"}

# Word for word what the UI's own bundle holds, but for errors that this test does not tell apart.
LAUNCH = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PartitionKeysNotFoundError { message }
    ... on PythonError { message stack }
  }
}
"""
FOLLOW = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status partitionNames error { message stack } }
  }
}
"""

pytestmark = pytest.mark.timeout(2 * WITHIN_S + 300)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return make_past(tmp_path, rate_per_day=60, facts=False)


@pytest.fixture
def stack(past: Past) -> Iterator[Stack]:
    services = ("dagster-code", "dagster-webserver", "dagster-daemon")
    with running(services, past.folder, {"FRAUD_LABEL_DELAY_DAYS": str(LABEL_DELAY_DAYS)}) as started:
        yield started


def graphql(stack: Stack, query: str, variables: dict[str, Any]) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    call = urllib.request.Request(
        f"{stack.env['FRAUD_DAGSTER_URL']}/graphql", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=60) as response:
        answer = json.load(response)
    assert "errors" not in answer, answer["errors"]
    (found,) = answer["data"].values()
    return found


def launch(stack: Stack) -> str:
    """Press the button; the backfill's id."""
    parameters = {"tags": [], "assetSelection": [{"path": [ASSET]}], "partitionNames": DAYS, "fromFailure": False}
    launched = graphql(stack, LAUNCH, {"backfillParams": parameters})
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    found: str = launched["backfillId"]
    return found


def ended(stack: Stack, backfill: str) -> Any:
    """The backfill as *Runs → Backfills* shows it, once it is not going on any more."""
    deadline = time.monotonic() + WITHIN_S
    while (shown := graphql(stack, FOLLOW, {"id": backfill}))["status"] in GOING_ON:
        assert time.monotonic() < deadline, stack.log("dagster-daemon").read_text(errors="replace")[-3000:]
        time.sleep(0.5)
    return shown


def files(past: Past) -> dict[str, bytes]:
    """What a view holds, by event date."""
    return {path.parent.name: path.read_bytes() for path in (past.folder / "features" / ASSET).glob("*/*.parquet")}


def test_a_backfill_from_the_ui_materializes_its_days_and_changes_nothing_when_it_is_repeated(
    stack: Stack, past: Past
) -> None:
    first = launch(stack)
    shown = ended(stack, first)
    made = files(past)
    second = launch(stack)
    again = ended(stack, second)

    for backfill in (shown, again):
        assert (backfill["status"], backfill["error"]) == ("COMPLETED_SUCCESS", None), backfill
        assert sorted(backfill["partitionNames"]) == DAYS
    assert sorted(made) == [f"event_date={day}" for day in DAYS]
    assert files(past) == made
    with dg.DagsterInstance.from_config(stack.env["DAGSTER_HOME"]) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(ASSET)) == set(DAYS)
        runs = instance.get_runs()
    # A range of days is one run, which shares one reading of the log.
    assert sorted(run.tags["dagster/backfill"] for run in runs) == sorted([first, second])
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
