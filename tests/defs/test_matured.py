"""Score drift, calibration and performance in a Dagster instance: a good week, a bad one, and the days on which nothing can be said."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import numpy as np
import pytest
import time_machine

from fraud_assets.contracts.events import Decision, Event, Label, LabelFact, Transaction
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.defs.monitoring.matured import CALIBRATED, PERFORMS, calibration_report, performance_report
from fraud_assets.defs.monitoring.predictions import CHECK, prediction_drift
from fraud_assets.defs.resources import resources_of
from fraud_assets.models.artifact import publish_champion, write_artifact
from fraud_assets.settings import Settings
from fraud_assets.stores.files import beside
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.stores.schemas import LogPosition, from_events
from fraud_assets.training.holdout import Holdout, save_holdout
from tests.models.made import Trained
from tests.streaming import events
from tests.training.trials import LABEL_DELAY_DAYS, decision, fact

ASSETS = (prediction_drift, calibration_report, performance_report)
DAY = "2026-10-14"
END_MS = start_ms(DAY) + DAY_MS
IN = datetime(2026, 10, 14 + LABEL_DELAY_DAYS + 1, 1, tzinfo=UTC)  # when the day's labels are in
PER_DAY = 300
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN

Checks = Mapping[str, dg.AssetCheckEvaluation]


class Shop:
    """A lake and a model folder; v1 found nine tenths of the fraud of its training, and denies from 0.8 on."""

    def __init__(self, folder: Path, trained: Trained) -> None:
        self.folder = folder
        self.settings = Settings(var_dir=folder / "var", label_delay_days=LABEL_DELAY_DAYS)
        self.lake = Lake(self.settings.lake_uri)
        self.instance = dg.DagsterInstance.ephemeral(str(folder))
        self._trained = trained

    def champion(self) -> "Shop":
        models = self.settings.model_dir
        write_artifact(models / "v1", self._trained.booster_json, self._trained.manifest("v1", metrics={"recall": 0.9}))
        publish_champion(models, "v1")
        return self

    def holdout(self) -> "Shop":
        n = 2_000
        found = Holdout(
            ("x",), [f"h{row}" for row in range(n)], np.arange(n), np.zeros(n, bool), np.zeros(n), scores(n, seed=9), {},
            np.zeros((n, 1), np.float32),
        )  # fmt: skip
        save_holdout(beside(self.settings.lake_uri, "training"), "v1", found)
        return self

    def append(self, table: str, kind: type[Event], made: Sequence[Event]) -> None:
        at = [LogPosition(one.event_time_ms, f"{table}.v1", 0, place) for place, one in enumerate(made)]
        self.lake.append(table, from_events(kind, made, at), "written")

    def week(
        self, said: Mapping[int, tuple[float, bool]], usual: np.ndarray, denied: Sequence[int] = (), days: int = 7
    ) -> "Shop":
        """A week of payments, or fewer days, with these scores, and others in `said`: (score, whether it is fraud), spoken of if denied."""
        n = len(usual)
        score = usual.copy()
        for number, (value, _) in said.items():
            score[number] = value
        at = [END_MS - days * DAY_MS + number * days * DAY_MS // n for number in range(n)]
        frauds = {number for number, (_, is_fraud) in said.items() if is_fraud}
        decisions = [
            decision(k, at[k], float(score[k]), {}, action="deny" if score[k] >= 0.8 or k in denied else "approve")
            for k in range(n)
        ]
        self.append("decisions", Decision, decisions)
        self.append("transactions", Transaction, [paid(k, at[k]) for k in range(n)])
        facts = [fact(k, at[k] + LABEL_DELAY_DAYS * DAY_MS, is_fraud=k in frauds) for k in range(n)]
        self.append("label_facts", LabelFact, facts)
        spoken = [k for k in said if k not in denied]
        self.append("labels", Label, [spoke(k, at[k], is_fraud=k in frauds) for k in spoken])
        return self

    def reports(self, now: datetime = IN) -> tuple[Mapping[str, Mapping[str, Any]], Checks]:
        """Metadata by asset, checks by name, made at an instant."""
        with time_machine.travel(now, tick=True):
            result = dg.materialize(
                ASSETS, resources=resources_of(self.settings), instance=self.instance, partition_key=DAY
            )
        assert result.success
        metadata = {
            one.key.to_user_string(): result.asset_materializations_for_node(one.key.to_user_string())[0].metadata
            for one in ASSETS
        }
        return metadata, {one.check_name: one for one in result.get_asset_check_evaluations()}


def scores(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(1, 50, n)


def paid(number: int, at_ms: int) -> Transaction:
    return events.transaction(event_time_ms=at_ms, transaction_id=f"t{number}", amount_minor=5_000)


def spoke(number: int, at_ms: int, *, is_fraud: bool) -> Label:
    made = events.label(event_time_ms=at_ms + DAY_MS, label_id=f"l{number}", transaction_id=f"t{number}")
    return msgspec.structs.replace(made, account_id="a1", is_fraud=is_fraud)


def good_week(n: int = 7 * PER_DAY) -> tuple[dict[int, tuple[float, bool]], np.ndarray]:
    """One payment in fifty is fraud, as scores of beta(1, 50) say; of forty frauds that score high, four are missed."""
    usual = scores(n)
    rng = np.random.default_rng(3)
    through = np.flatnonzero(rng.random(n) < usual)
    return {int(k): (float(usual[k]), True) for k in through} | {k * 50 + 7: (0.9, True) for k in range(40)}, usual


@pytest.fixture
def shop(tmp_path: Path, trained: Trained) -> Shop:
    return Shop(tmp_path, trained)


def of(checks: Checks, name: str) -> tuple[bool, object]:
    return checks[name].passed, checks[name].metadata["state"].value


def test_scores_as_expected_and_probabilities_pass_and_everything_is_shown(shop: Shop) -> None:
    shop.champion().holdout().week(*good_week())

    metadata, checks = shop.reports()

    drift, calibration = metadata["prediction_drift"], metadata["calibration_report"]
    assert of(checks, CHECK) == of(checks, CALIBRATED) == (True, "judged")
    assert (drift["reference"].value, drift["model_version"].value) == ("holdout", "v1")
    assert drift["rows"].value == PER_DAY
    assert drift["psi"].value < 0.2 and drift["ks"].value < 0.15 and 0 <= drift["ks_p_value"].value <= 1
    assert calibration["payments"].value == calibration["labelled"].value == PER_DAY
    assert calibration["payments_of_week"].value == 7 * PER_DAY
    assert calibration["gap"].value <= calibration["at_most"].value
    assert calibration["label_delay_days"].value == LABEL_DELAY_DAYS
    assert calibration["labels_in_at"].value == IN.timestamp()
    drawn = [("prediction_drift", "scores"), ("prediction_drift", "by_hour"), ("calibration_report", "by_day")]
    for asset, plot in [*drawn, ("performance_report", "by_day")]:
        assert "data:image/png" in metadata[asset][plot].md_str


def test_a_week_in_which_it_finds_what_its_training_promised_passes_with_its_figures(shop: Shop) -> None:
    said = {n * 58: (0.9, True) for n in range(36)} | {n * 58 + 1: (0.1, True) for n in range(4)} | {9: (0.95, False)}
    shop.champion().holdout().week(said, np.full(7 * PER_DAY, 0.01))

    metadata, checks = shop.reports()

    found = metadata["performance_report"]
    assert of(checks, PERFORMS) == (True, "judged")
    assert found["recall"].value == pytest.approx(0.9)
    assert found["precision"].value == pytest.approx(36 / 37, abs=1e-6)
    assert found["cost_minor"].value == 4 * (5_000 + 1_500) + 2_500
    assert found["denied_in_silence"].value == 0
    assert {"f1", "average_precision", "recall_of_day", "cost_minor_of_day"} <= set(found)


def test_a_week_in_which_half_of_the_fraud_is_let_through_is_an_error(shop: Shop) -> None:
    said = {n * 50: (0.9 if n % 2 else 0.02, True) for n in range(40)}
    shop.champion().holdout().week(said, scores(7 * PER_DAY))

    _, checks = shop.reports()

    assert of(checks, PERFORMS) == (False, "judged")
    assert checks[PERFORMS].severity is ERROR
    assert checks[PERFORMS].metadata["recall"].value == pytest.approx(0.5)


def test_denials_that_nobody_spoke_of_do_not_make_a_model_bad(shop: Shop) -> None:
    """Of those twenty the verdict says legitimate, by silence; and it is known that it says nothing."""
    said = {n * 50: (0.9, n % 2 == 0) for n in range(40)}
    shop.champion().holdout().week(said, np.full(7 * PER_DAY, 0.01), denied=[n * 50 for n in range(40) if n % 2])

    metadata, checks = shop.reports()

    found = metadata["performance_report"]
    assert found["denied_in_silence"].value == 20
    assert (found["precision"].value, found["precision_at_least"].value) == (1.0, 0.5)
    assert of(checks, PERFORMS) == (True, "judged")


def test_scores_that_moved_far_are_an_error_and_scores_that_are_no_probabilities_too(shop: Shop) -> None:
    shop.champion().holdout().week({}, scores(7 * PER_DAY) + 0.1)

    metadata, checks = shop.reports()

    assert (of(checks, CHECK), checks[CHECK].severity) == ((False, "judged"), ERROR)
    assert metadata["prediction_drift"]["ks"].value > 0.25
    assert (of(checks, CALIBRATED), checks[CALIBRATED].severity) == ((False, "judged"), ERROR)


def test_a_day_whose_labels_are_not_in_says_when_they_will_be_and_is_not_judged(shop: Shop) -> None:
    shop.champion().holdout().week({n * 50: (0.02, True) for n in range(40)}, scores(7 * PER_DAY))

    early = shop.reports(datetime(2026, 10, 14 + LABEL_DELAY_DAYS + 1, 0, 59, tzinfo=UTC))[1]
    due = shop.reports()[1]

    assert of(early, PERFORMS) == of(early, CALIBRATED) == (True, "labels_young")
    assert early[PERFORMS].description == "not judged: labels_young"
    assert of(due, PERFORMS) == (False, "judged")


def test_an_empty_platform_and_an_empty_day_are_states_and_no_failures(shop: Shop) -> None:
    nobody = shop.reports()[1]
    nothing = Shop.reports(shop.champion())[1]

    assert {of(nobody, name) for name in (CHECK, CALIBRATED, PERFORMS)} == {(True, "no_champion")}
    assert {of(nothing, name) for name in (CHECK, CALIBRATED, PERFORMS)} == {(True, "nothing_decided")}


def test_a_model_whose_files_and_scores_are_gone_is_named_as_such(shop: Shop) -> None:
    shop.week({}, scores(7 * PER_DAY))

    metadata, checks = shop.reports()

    assert of(checks, CHECK) == (True, "no_reference")
    assert metadata["prediction_drift"]["model_version"].value == "v1"
    assert of(checks, CALIBRATED) == of(checks, PERFORMS) == (True, "model_gone")


def test_one_day_alone_says_nothing_of_calibration(shop: Shop) -> None:
    """Its frauds may be one attack."""
    shop.champion().holdout().week({}, scores(PER_DAY) + 0.1, days=1)

    _, checks = shop.reports()

    assert of(checks, CALIBRATED) == (True, "judged")
    assert checks[CALIBRATED].description == "not judged: too few frauds, or one day alone"


def test_labels_that_are_late_are_no_verdict_on_the_model(shop: Shop) -> None:
    """The label stage is behind: what it has told of is fraud, and the rest is missing."""
    shop.champion().holdout().week({}, scores(7 * PER_DAY))
    for day in shop.lake.days("label_facts"):
        shop.lake.mend("label_facts", day, lambda rows: np.arange(rows.num_rows) % 10 == 0)

    _, checks = shop.reports()

    assert of(checks, CALIBRATED) == of(checks, PERFORMS) == (True, "labels_missing")
