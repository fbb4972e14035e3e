"""From a simulated history to a champion, a filled online store and a skew report, through Dagster."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.definitions import defs
from fraud_assets.defs.features.assets import view_asset
from fraud_assets.defs.ingestion.assets import RAW, raw_asset
from fraud_assets.defs.ingestion.compaction import compacted_days
from fraud_assets.defs.labels.assets import label_facts
from fraud_assets.defs.labels.graph import identity_graph, label_confidence
from fraud_assets.defs.labels.maturity import label_maturity
from fraud_assets.defs.labels.noise import label_noise
from fraud_assets.defs.monitoring.assets import skew_report
from fraud_assets.defs.monitoring.chains import decision_chain_report
from fraud_assets.defs.monitoring.drift import drift_report
from fraud_assets.defs.monitoring.matured import calibration_report, performance_report
from fraud_assets.defs.monitoring.predictions import prediction_drift
from fraud_assets.defs.monitoring.pricing import pricing_report
from fraud_assets.defs.resources import resources_of
from fraud_assets.defs.serving.assets import hourly_online_views, online_store_snapshot
from fraud_assets.defs.training import checks as training_checks
from fraud_assets.defs.training.assets import champion_model, fraud_model, training_set
from fraud_assets.models.artifact import open_artifact, read_champion
from fraud_assets.models.manifest import MANIFEST_FILE, MODEL_FILE, Thresholds
from fraud_assets.models.served import ServedModel
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import Appoint, Halt
from fraud_assets.rollout.standing import MODEL_NAME
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import start_ms
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.registry import ModelRegistry
from fraud_assets.training import store
from fraud_assets.training.as_of import manifest_of, note_model
from fraud_assets.training.gates import GATES as GATES_OF_TRAINING
from fraud_assets.training.gates import FailedGates
from fraud_assets.training.holdout import Holdout, load_holdout, save_holdout
from fraud_assets.training.lineage import lineage
from fraud_assets.training.reproduce import reproduce
from fraud_assets.training.space import SPACE
from tests.history import DAYS, END_MS, FIRST_DAY, LABEL_DELAY_DAYS, LAST_DAY, WARM_UP_DAYS, Past, make_past

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

pytestmark = [
    # dagster-mlflow reads a deprecated attribute of its context; mlflow's own migrations.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.timeout(600),  # kernels may have to be compiled first
]

AS_OF = "2026-10-15"
GATES = tuple(found for found in vars(training_checks).values() if isinstance(found, dg.AssetChecksDefinition))


def in_range(
    assets: Sequence[dg.AssetsDefinition],
    resources: Mapping[str, object],
    instance: dg.DagsterInstance,
    first: str,
    last: str,
) -> dg.ExecuteInProcessResult:
    """One run of a job over a range of days, as the command line would make it."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.materialize(assets, resources=resources, instance=instance, tags=tags)


@dataclass(frozen=True)
class Learnt:
    """A history, what was learnt from it, and the instance that knows how."""

    past: Past
    settings: Settings
    instance: dg.DagsterInstance
    resources: dict[str, Any]
    result: dg.ExecuteInProcessResult
    published: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, valkey_server: str) -> Learnt:
    folder = tmp_path_factory.mktemp("learnt")
    past = make_past(folder / "var", facts=False)
    settings = Settings(
        var_dir=past.folder,
        redis_url=valkey_server,
        label_delay_days=LABEL_DELAY_DAYS,
        warm_up_days=WARM_UP_DAYS,
        tuning_trials=3,
        kafka_bootstrap_servers="127.0.0.1:1",
    )
    resources = resources_of(settings)
    instance = dg.DagsterInstance.ephemeral(str(folder))
    raw = [raw_asset(name, *what) for name, what in RAW.items()]
    view = view_asset(past.plan, past.plan.registry.view("account_declines"))
    assert in_range([*raw, label_facts, view], resources, instance, FIRST_DAY, LAST_DAY).success
    result = dg.materialize(
        [training_set, fraud_model, champion_model, *GATES], resources=resources, instance=instance, partition_key=AS_OF
    )
    assert result.success
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr("fraud_assets.stores.log_ends.ANSWER_WITHIN_S", 0.1)  # no broker will come
        published = dg.materialize(
            [online_store_snapshot], resources=resources, instance=instance, partition_key=LAST_DAY
        )
    return Learnt(past, settings, instance, resources, result, published)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> Mapping[str, Any]:
    """What a run said about an asset; values are of Dagster's many metadata types."""
    return result.asset_materializations_for_node(asset)[0].metadata


def client_of(learnt: Learnt) -> "MlflowClient":
    from mlflow.tracking import MlflowClient  # takes seconds, and every worker reads this file

    return MlflowClient(learnt.settings.mlflow_tracking_uri)


def champions_run(client: "MlflowClient") -> "Run":
    run_id = client.get_model_version_by_alias(MODEL_NAME, "champion").run_id
    assert run_id is not None
    return client.get_run(run_id)


def test_the_champion_of_mlflow_is_the_one_that_scorers_are_pointed_at(learnt: Learnt) -> None:
    champion = read_champion(learnt.settings.model_dir)
    registered = client_of(learnt).get_model_version_by_alias(MODEL_NAME, "champion")

    assert champion is not None
    assert registered.tags["model_version"] == champion.version


def test_the_mlflow_run_ended_and_carries_the_artifact_and_its_metrics(learnt: Learnt) -> None:
    client = client_of(learnt)

    run = champions_run(client)

    assert run.info.status == "FINISHED"
    assert run.data.tags["dagster_run_id"] == learnt.result.run_id
    assert run.data.metrics["average_precision"] > run.data.metrics["prior"]
    assert {item.path for item in client.list_artifacts(run.info.run_id, "model")} == {
        "model/evaluation.json",
        "model/manifest.json",
        "model/model.json",
        "model/recipe.json",
    }


def test_every_trial_is_a_run_of_its_own_below_the_training(learnt: Learnt) -> None:
    client = client_of(learnt)
    parent = champions_run(client)
    metadata = metadata_of(learnt.result, "fraud_model")

    runs = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", order_by=["start_time ASC"]
    )

    assert len(runs) == learnt.settings.tuning_trials == metadata["trials"].value
    assert all(set(run.data.params) == set(SPACE.default) for run in runs)
    assert {name: float(value) for name, value in runs[0].data.params.items()} == SPACE.default
    curve = client.get_metric_history(runs[0].info.run_id, "validation_logloss")
    assert [point.step for point in curve] == list(range(1, len(curve) + 1))
    assert min(curve, key=lambda point: point.value).step == runs[0].data.metrics["rounds"]
    best = max(run.data.metrics["average_precision"] for run in runs if run.data.tags["state"] == "complete")
    assert best == parent.data.metrics["average_precision"]
    assert all(run.info.status == "FINISHED" for run in runs if run.data.tags["state"] == "complete")


def test_the_study_is_summed_up_where_the_model_is(learnt: Learnt) -> None:
    found = metadata_of(learnt.result, "fraud_model")

    assert found["best_average_precision"].value >= found["default_average_precision"].value
    assert set(found["best_params"].value) == set(SPACE.default)
    assert len(found["trial_table"].records) == found["trials"].value
    assert "data:image/png" in found["trial_history"].md_str
    assert found["trials_cut_by_time"].value is False


def test_what_the_model_did_on_unseen_rows_is_shown_slice_by_slice_and_drawn(learnt: Learnt) -> None:
    found = metadata_of(learnt.result, "fraud_model")

    slices = {record.data["slice"]: record.data for record in found["slices"].records}
    counted = found["confusion"].value
    assert slices["all"]["rows"] == found["dagster/row_count"].value
    assert slices["all"]["frauds"] == counted["true_positives"] + counted["false_negatives"]
    assert {"new_accounts", "high_amounts", "payment_method=card"} < set(slices)
    assert 0 < found["f1"].value <= 1
    assert all("data:image/png" in found[curve].md_str for curve in ("precision_recall", "reliability"))


def test_the_online_store_is_of_this_code_and_holds_the_accounts(learnt: Learnt) -> None:
    past = learnt.past
    store = OnlineStore.connect(learnt.settings.redis_url, past.plan.registry)

    marker = store.current_epoch()
    keys = past.lake.scan("transactions", END_MS - DAY_MS, END_MS, columns=["account_id"])["account_id"].to_pylist()

    assert learnt.published.success
    assert marker.epoch.startswith(LAST_DAY)
    assert all(store.read_many("account", keys))


def test_the_hourly_job_finds_nothing_to_do_behind_a_fresh_snapshot(learnt: Learnt) -> None:
    result = dg.materialize([hourly_online_views], resources=learnt.resources, instance=learnt.instance)

    assert metadata_of(result, "hourly_online_views")["rows_applied"].value == 0


def test_a_skew_report_of_a_day_without_decisions_passes_and_checked_nothing(learnt: Learnt) -> None:
    result = dg.materialize([skew_report], resources=learnt.resources, instance=learnt.instance, partition_key=LAST_DAY)

    checks = {item.check_name: item.passed for item in result.get_asset_check_evaluations()}
    assert checks == dict.fromkeys(("no_mismatches", "no_stale_reads", "states_readable", "no_missing_decisions"), True)
    assert metadata_of(result, "skew_report")["checked"].value == 0


def test_a_drift_report_of_a_day_without_transactions_passes_and_judged_nothing(learnt: Learnt) -> None:
    result = dg.materialize([drift_report], resources=learnt.resources, instance=learnt.instance, partition_key=AS_OF)

    (check,) = result.get_asset_check_evaluations()
    found = metadata_of(result, "drift_report")
    assert check.passed
    assert (found["rows"].value, found["judged"].value, found["reference_as_of"].value) == (0, False, AS_OF)
    assert "page" not in found
    assert not (learnt.settings.var_dir / "reports" / "drift" / f"{AS_OF}.html").exists()


@pytest.fixture(scope="module")
def shown(learnt: Learnt) -> dict[str, Mapping[str, Any]]:
    """Metadata of the newest materialization of every asset, after those that nothing above has made were made too."""
    root = learnt.resources["lake"].training_uri
    store.save(root, LAST_DAY, store.load(root, AS_OF))  # for the drift report of a day that has transactions
    views = [view_asset(learnt.past.plan, view) for view in learnt.past.plan.registry.views.values()]
    on_scores = [prediction_drift, calibration_report, performance_report, pricing_report]
    reports = [skew_report, drift_report, *on_scores, label_maturity, label_noise, identity_graph, label_confidence]
    for assets, day in (
        (views, LAST_DAY),
        (reports, LAST_DAY),
        ([compacted_days], LAST_DAY),
        ([hourly_online_views, decision_chain_report], None),
    ):
        assert dg.materialize(assets, resources=learnt.resources, instance=learnt.instance, partition_key=day).success
    found = {}
    for key in defs().resolve_asset_graph().materializable_asset_keys:
        event = learnt.instance.get_latest_materialization_event(key)
        assert event is not None, f"{key} was never materialized"
        assert event.asset_materialization is not None
        found[key.to_user_string()] = event.asset_materialization.metadata
    return found


def columns_of(metadata: Mapping[str, Any]) -> list[str]:
    return [column.name for column in metadata["dagster/column_schema"].schema.columns]


def test_every_asset_says_its_rows_and_columns_and_shows_a_plot_where_it_is_materialized(
    shown: dict[str, Mapping[str, Any]],
) -> None:
    for name, metadata in shown.items():
        assert "dagster/row_count" in metadata, f"{name} was materialized without a row count"
        assert "dagster/column_schema" in metadata, f"{name} was materialized without a column schema"
        assert columns_of(metadata), f"{name} has no columns"
        plots = [value for value in metadata.values() if isinstance(value, dg.MarkdownMetadataValue)]
        assert any(value.md_str and "data:image/png;base64," in value.md_str for value in plots), f"{name} has no plot"


def test_columns_are_those_of_the_rows(learnt: Learnt, shown: dict[str, Mapping[str, Any]]) -> None:
    trained = store.load(learnt.resources["lake"].training_uri, AS_OF)
    view = learnt.past.folder / "features" / "account_declines" / f"event_date={LAST_DAY}" / "data.parquet"

    assert columns_of(shown["transactions"]) == learnt.past.lake.schema("transactions").names
    assert columns_of(shown["account_declines"]) == pq.read_schema(view).names
    assert columns_of(shown["training_set"]) == trained.table().column_names
    assert columns_of(shown["fraud_model"]) == columns_of(shown["champion_model"]) == list(trained.names)
    assert set(columns_of(shown["drift_report"])) == set(shown["drift_report"]["moved"].records[0].data)
    assert set(columns_of(shown["skew_report"])) >= {"checked", "mismatches", "by_feature"}


def test_rows_are_those_that_were_learnt_from_published_or_compared(
    learnt: Learnt, shown: dict[str, Mapping[str, Any]]
) -> None:
    rows = {name: metadata["dagster/row_count"].value for name, metadata in shown.items()}

    trained = len(store.load(learnt.resources["lake"].training_uri, AS_OF))
    assert trained > 0
    assert rows["training_set"] == rows["fraud_model"] == rows["champion_model"] == trained
    assert rows["online_store_snapshot"] == shown["online_store_snapshot"]["entities"].value > 0
    assert rows["drift_report"] == shown["drift_report"]["rows"].value > 0


def test_a_drift_report_made_again_says_the_same(learnt: Learnt, shown: dict[str, Mapping[str, Any]]) -> None:
    again = dg.materialize([drift_report], resources=learnt.resources, instance=learnt.instance, partition_key=LAST_DAY)

    assert shown["drift_report"]["judged"].value is True  # of a day with rows
    assert metadata_of(again, "drift_report") == shown["drift_report"]


def test_a_set_that_was_made_has_the_columns_its_definition_foretold(shown: dict[str, Mapping[str, Any]]) -> None:
    for spec in defs().resolve_all_asset_specs():
        name = spec.key.to_user_string()
        if name in shown:
            foretold = spec.metadata["dagster/column_schema"]
            assert shown[name]["dagster/column_schema"].schema == foretold, name


def test_the_scores_to_expect_of_live_traffic_are_kept_beside_the_training_set(learnt: Learnt) -> None:
    found = metadata_of(learnt.result, "fraud_model")

    scores = store.load_scores(learnt.resources["lake"].training_uri, AS_OF)

    assert len(scores) == found["validate_rows"].value


def candidate(learnt: Learnt, as_of: str, **changed: object) -> str:
    """A registered copy of the champion that differs in its manifest, as the model of another as-of day."""
    folder, version = learnt.settings.model_dir, f"fraud-{as_of}"
    champion = read_champion(folder)
    assert champion is not None
    shutil.copytree(folder / champion.version, folder / version)
    manifest = msgspec.structs.replace(manifest_of(folder, version), model_version=version, **changed)
    (folder / version / MANIFEST_FILE).write_bytes(msgspec.json.encode(manifest))
    note_model(folder, as_of, version)
    root = learnt.resources["lake"].training_uri
    save_holdout(root, version, repeated(load_holdout(root, champion.version)))
    registry = ModelRegistry(learnt.settings.mlflow_tracking_uri)
    registry.register(champions_run(client_of(learnt)).info.run_id, version, {})
    return version


def as_good_as_the_champion(learnt: Learnt, as_of: str) -> str:
    """A candidate that scored its unseen rows as the champion does, which has learnt from them."""
    version, champion = candidate(learnt, as_of), read_champion(learnt.settings.model_dir)
    assert champion is not None
    artifact = open_artifact(learnt.settings.model_dir, champion)
    root = learnt.resources["lake"].training_uri
    found = load_holdout(root, version)
    scores = ServedModel.build(artifact.manifest, artifact.model_json).score_many(found.features)
    save_holdout(root, version, replace(found, score=np.array(scores, found.score.dtype)))
    return version


def repeated(found: Holdout, times: int = 6) -> Holdout:
    """As payments of after the champion's window: two days of this world hold too few frauds to compare models by."""
    return replace(
        found,
        ids=[f"{name} {time}" for time in range(times) for name in found.ids],
        event_time_ms=np.tile(found.event_time_ms + DAYS * DAY_MS, times),
        is_fraud=np.tile(found.is_fraud, times),
        euro_cents=np.tile(found.euro_cents, times),
        score=np.tile(found.score, times),
        slices={name: np.tile(member, times) for name, member in found.slices.items()},
        features=np.tile(found.features, (times, 1)),
    )


def read_champion_version(learnt: Learnt) -> str:
    champion = read_champion(learnt.settings.model_dir)
    assert champion is not None
    return champion.version


def failing(learnt: Learnt) -> dict[str, dict[str, object]]:
    """What to change in the champion's manifest for a gate to fail, by the gate's name."""
    champion = read_champion(learnt.settings.model_dir)
    assert champion is not None
    manifest = manifest_of(learnt.settings.model_dir, champion.version)
    other = [1.0 - score for score in manifest.golden.scores]
    return {
        "ranks_better_than_chance": {"metrics": {**manifest.metrics, "average_precision": manifest.metrics["prior"]}},
        "spares_good_customers": {"metrics": {**manifest.metrics, "fpr": 0.021}},
        "golden_vectors_agree": {"golden": msgspec.structs.replace(manifest.golden, scores=other)},
        "recall_not_worse": {"thresholds": Thresholds(review=1.0, deny=1.0)},
        "calibrated": {"files": {MODEL_FILE: manifest.files[MODEL_FILE]}},  # as models were before they were judged
    }


def promoted(learnt: Learnt, as_of: str) -> dg.ExecuteInProcessResult:
    """Promotion in a run of its own, as `--select champion_model` makes it."""
    return dg.materialize([champion_model], resources=learnt.resources, instance=learnt.instance, partition_key=as_of)


@pytest.mark.parametrize(
    ("gate", "as_of"),
    [
        ("ranks_better_than_chance", "2026-10-16"),
        ("spares_good_customers", "2026-10-17"),
        ("golden_vectors_agree", "2026-10-18"),
        ("recall_not_worse", "2026-10-19"),
        ("calibrated", "2026-10-20"),
    ],
)
def test_a_candidate_that_fails_a_gate_is_not_promoted_by_a_run_of_its_own(
    learnt: Learnt, gate: str, as_of: str
) -> None:
    version = candidate(learnt, as_of, **failing(learnt)[gate])
    registry = ModelRegistry(learnt.settings.mlflow_tracking_uri)
    before = read_champion(learnt.settings.model_dir), registry.champion()

    with pytest.raises(FailedGates, match=rf"{version} fails (.*; )?{gate} "):
        promoted(learnt, as_of)

    assert (read_champion(learnt.settings.model_dir), registry.champion()) == before


def test_a_candidate_that_passes_is_promoted_by_a_run_of_its_own(learnt: Learnt) -> None:
    result = promoted(learnt, AS_OF)

    judged = metadata_of(result, "champion_model")["gates"].value
    assert result.success
    assert set(judged) == set(GATES_OF_TRAINING) == {check.name for gate in GATES for check in gate.check_specs}
    assert judged["recall_not_worse"] == {"not_compared": "the candidate is the champion"}


def test_a_candidate_that_fails_is_registered_and_tagged_with_what_it_failed_by(learnt: Learnt) -> None:
    """It is kept to be looked at; its run stops at the check, and the champion is compared with and stays."""
    as_of, champion = "2026-10-14", read_champion(learnt.settings.model_dir)
    strict = learnt.settings.model_copy(update={"row_budget_us": 0.001})
    resources = resources_of(strict)

    result = dg.materialize(
        [training_set, fraud_model, champion_model, *GATES],
        resources=resources,
        instance=learnt.instance,
        partition_key=as_of,
        raise_on_error=False,
    )

    checks = {item.check_name: item for item in result.get_asset_check_evaluations()}
    said = metadata_of(result, "fraud_model")
    (registered,) = client_of(learnt).search_model_versions(f"tags.model_version='{said['model_version'].value}'")
    assert champion is not None
    assert not result.success and not result.asset_materializations_for_node("champion_model")
    assert not checks["within_latency_budget"].passed
    assert "within_latency_budget" in said["failed_gates"].value
    assert "within_latency_budget" in registered.tags["gates"] and registered.tags["gates"].startswith("failed: ")
    assert "at_most" in registered.tags["gate.within_latency_budget"]
    assert str(checks["recall_not_worse"].metadata["not_compared"].value).startswith(champion.version)
    assert read_champion(learnt.settings.model_dir) == champion


def test_the_promotion_log_says_how_the_champion_became_one(learnt: Learnt) -> None:
    found = metadata_of(learnt.result, "champion_model")
    first = PromotionLog(learnt.settings.model_dir).entries()[0]

    assert (found["step"].value, found["phase"].value, found["sequence"].value) == ("appointed", "none", 1)
    assert found["champion"].value == found["model_version"].value == read_champion_version(learnt)
    assert isinstance(first.step, Appoint) and first.step.who == "champion_model"
    assert first.step.evidence["dagster_run_id"] == learnt.result.run_id
    assert set(first.step.evidence["gates"]) == set(GATES_OF_TRAINING)
    registered = client_of(learnt).get_model_version_by_alias(MODEL_NAME, "champion")
    assert registered.tags["stage"] == "Production"


def test_a_candidate_begins_a_shadow_where_rollouts_are_on_and_the_next_one_waits(learnt: Learnt) -> None:
    """The champion stays who it was; MLflow says who challenges."""
    champion = read_champion_version(learnt)
    log = PromotionLog(learnt.settings.model_dir)
    shadowing = {**learnt.resources, **resources_of(learnt.settings.model_copy(update={"rollout": "shadow"}))}
    versions = [as_good_as_the_champion(learnt, as_of) for as_of in ("2026-10-21", "2026-10-22")]

    first, second = [
        metadata_of(
            dg.materialize([champion_model], resources=shadowing, instance=learnt.instance, partition_key=as_of),
            "champion_model",
        )
        for as_of in ("2026-10-21", "2026-10-22")
    ]

    registered = client_of(learnt).get_model_version_by_alias(MODEL_NAME, "challenger")
    log.move(log.settle(2), Halt(at_ms=2, who="a test", why="leaves things as they were"))
    assert (first["step"].value, first["phase"].value) == ("begins a shadow", "shadow")
    assert (first["champion"].value, first["challenger"].value) == (champion, versions[0])
    assert second["step"].value == f"stays registered: {versions[0]} is in shadow"
    assert (second["sequence"].value, second["challenger"].value) == (first["sequence"].value, versions[0])
    assert registered.tags["model_version"] == versions[0] and registered.tags["stage"] == "Staging"
    assert read_champion_version(learnt) == champion


def test_lineage_names_the_run_that_mlflow_and_dagster_know(learnt: Learnt) -> None:
    champion = read_champion(learnt.settings.model_dir)
    assert champion is not None

    found = lineage(
        learnt.settings.model_dir, learnt.resources["lake"].training_uri, learnt.past.lake, champion.version,
        client_of(learnt), MODEL_NAME,
    )  # fmt: skip

    run = champions_run(client_of(learnt))
    assert found.run is not None
    assert (found.run.run_id, found.run.aliases) == (run.info.run_id, ("champion",))
    assert found.training_set.digest == run.data.params["training_set_digest"] and found.training_set.kept
    assert found.serving.champion


def test_the_champion_is_made_again_to_the_last_byte(learnt: Learnt) -> None:
    """The winner of a search, as Dagster kept its set."""
    champion = read_champion(learnt.settings.model_dir)
    assert champion is not None

    assert reproduce(learnt.settings.model_dir, learnt.resources["lake"].training_uri, champion.version).same


def test_a_finished_study_leaves_no_journal(learnt: Learnt) -> None:
    assert list((learnt.settings.var_dir / "studies").iterdir()) == []


def test_a_day_trained_again_is_the_same_set_the_same_version_and_the_same_champion(learnt: Learnt) -> None:
    client = client_of(learnt)
    registry = ModelRegistry(learnt.settings.mlflow_tracking_uri)
    champions = read_champion(learnt.settings.model_dir), registry.champion()
    versions = len(client.search_model_versions(f"name='{MODEL_NAME}'"))

    again = dg.materialize(
        [training_set, fraud_model, champion_model, *GATES],
        resources=learnt.resources,
        instance=learnt.instance,
        partition_key=AS_OF,
    )

    for asset, said in (
        ("training_set", ("digest", "dagster/row_count")),
        ("fraud_model", ("training_set_digest", "model_version", "mlflow_version")),
        ("champion_model", ("model_version", "mlflow_version", "manifest_sha256")),
    ):
        before, after = metadata_of(learnt.result, asset), metadata_of(again, asset)
        assert {name: after[name] for name in said} == {name: before[name] for name in said}
    assert (read_champion(learnt.settings.model_dir), registry.champion()) == champions
    assert len(client.search_model_versions(f"name='{MODEL_NAME}'")) == versions


def test_the_window_of_a_training_set_is_as_long_as_the_environment_says(
    learnt: Learnt, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_of, days = "2026-10-13", 5
    monkeypatch.setenv("FRAUD_TRAINING_WINDOW_DAYS", str(days))
    settings = Settings(var_dir=learnt.past.folder, label_delay_days=LABEL_DELAY_DAYS, warm_up_days=WARM_UP_DAYS)

    result = dg.materialize(
        [training_set], resources=resources_of(settings), instance=learnt.instance, partition_key=as_of
    )

    assert result.success
    times = store.load(learnt.resources["lake"].training_uri, as_of).rows["event_time_ms"].to_numpy()
    to_ms = start_ms(as_of) - LABEL_DELAY_DAYS * DAY_MS
    every = learnt.past.lake.scan("transactions", 0, to_ms, columns=["event_time_ms"])["event_time_ms"].to_numpy()
    assert every.min() < to_ms - days * DAY_MS  # an older one would have been there to take
    assert set((to_ms - 1 - times) // DAY_MS) == set(range(days))
