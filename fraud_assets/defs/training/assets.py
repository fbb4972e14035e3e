"""From labelled history to the champion: training set, model, promotion."""

import time

import dagster as dg
import pyarrow.compute as pc
from dagster_duckdb import DuckDBResource

from fraud_assets.contracts.events import Transaction
from fraud_assets.defs.ingestion.assets import EVENTS
from fraud_assets.defs.metadata import bars, column_schema, lines, scored_above
from fraud_assets.defs.partitions import SETTINGS, before_as_of, daily, end_ms, fresh_within
from fraud_assets.defs.resources import LakeResource, end_mlflow_on_run_finished
from fraud_assets.defs.results import Result
from fraud_assets.defs.rollout.shown import rollout_metadata
from fraud_assets.defs.training.checks import candidate_of
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import champion_of
from fraud_assets.monitoring.quality import refuse_bad_days
from fraud_assets.rollout.admission import admit
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import Plan
from fraud_assets.rollout.pointer import follow
from fraud_assets.rollout.standing import standing
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import start_ms
from fraud_assets.stores.registry import ModelRegistry
from fraud_assets.stores.schemas import arrow_schema
from fraud_assets.training import store
from fraud_assets.training.as_of import latest_model, manifest_of
from fraud_assets.training.dataset import TrainingSet, Weigh, after_warm_up, table_schema, vector_schema, window_as_of
from fraud_assets.training.dataset import training_set as training_set_as_of
from fraud_assets.training.gates import failures, judge, require_gates
from fraud_assets.training.holdout import forget_holdouts, save_holdout
from fraud_assets.training.split import SplitKind

GROUP = "training"
OWNER = "team:fraud-ml"
# Decisions are read too, for the positions they logged; but they come of the model that comes of this,
# and Dagster draws no graph with a cycle.
RAW = ("transactions", "activity", "profiles", "label_facts")
FEATURES = registry().feature_names(FRAUD_SCORING)
STATES_READABLE = "Every decision of the window logged positions that can be read; a payment whose did not is left out."


def _known_until_ms(lake: LakeResource, day: str, settings: Settings) -> int:
    """All before the as-of day began; or, of the day that goes on and where the settings say so, all that the log holds.

    To its newest arrival and not to a clock: the same log gives the same set, however long a busy machine takes to come to it.
    """
    is_going_on = start_ms(day) <= time.time_ns() // 1_000_000 < end_ms(day)
    if settings.training_as_of == "midnight" or not is_going_on:
        return start_ms(day)
    arrived = lake.lake.scan(lake.service.service.scored.table, start_ms(day), columns=["ingested_at_ms"])
    return int(pc.max(arrived["ingested_at_ms"]).as_py() or start_ms(day) - 1) + 1


def _weigh(lake: LakeResource, settings: Settings, day: str) -> Weigh | None:
    if not settings.propagation_weights:
        return None
    # Here, for SciPy takes half a second that no other command should wait for.
    from fraud_assets.training.weights import propagation_weights

    return propagation_weights(lake.labels_uri, day)


def _weighed(found: TrainingSet) -> dict[str, int | float]:
    """How many rows count less, and what that takes; nothing where all count the same."""
    if found.weight is None:
        return {}
    return {"weighted_down": int((found.weight < 1).sum()), "weight_taken": float(round((1 - found.weight).sum(), 3))}


def _rows(root: str, as_of: str) -> dict[str, int]:
    """Of the set that a model learnt from; nothing where it is no longer kept, for promoting needs the model alone."""
    return {"dagster/row_count": store.row_count(root, as_of)} if as_of in store.days(root) else {}


@dg.asset(
    group_name=GROUP,
    kinds={"parquet", "numba"},
    owners=[OWNER],
    # Of the same day: as of the same midnight. Read where FRAUD_PROPAGATION_WEIGHTS is on.
    deps=[*(dg.AssetDep(name, partition_mapping=before_as_of) for name in RAW), "label_confidence"],
    partitions_def=daily,
    freshness_policy=fresh_within(8 * 24),
    metadata={
        "dagster/column_schema": column_schema(
            table_schema(FEATURES, arrow_schema(Transaction), weighted=SETTINGS.propagation_weights)
        )
    },
    check_specs=[dg.AssetCheckSpec("states_readable", asset="training_set", description=STATES_READABLE)],
)
def training_set(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    duckdb: DuckDBResource,
    settings: dg.ResourceParam[Settings],
) -> Result:
    """Vectors and verdicts of the window's transactions, as known when the as-of day began (or as the log ends: FRAUD_TRAINING_AS_OF).

    Not made while a raw day that was known then fails its checks, whichever run has judged it.
    """
    day = context.partition_key
    as_of_ms = _known_until_ms(lake, day, settings)
    with duckdb.get_connection() as connection:
        refuse_bad_days(
            connection, lake.lake, settings.dedupe_horizon_ms, (*EVENTS, "decisions"), as_known_at_ms=as_of_ms
        )
    window = window_as_of(as_of_ms, settings.training_window_days, settings.label_delay_days)
    days = lake.lake.days(lake.service.service.scored.table)
    if days:  # without any the set says so itself
        window = after_warm_up(window, days[0], settings.warm_up_days)
    found = training_set_as_of(lake.lake, lake.service, window, weigh=_weigh(lake, settings, day))
    path = store.save(lake.training_uri, day, found)
    shares = found.fraud_share_by_day().tolist()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found),
            "frauds": int(found.is_fraud.sum()),
            "read_as_served": found.served,
            "unreadable": found.unreadable,
            "denied_in_silence": found.unspoken,
            "features": len(found.names),
            **_weighed(found),
            "digest": found.digest,
            "path": dg.MetadataValue.path(path),
            "dagster/column_schema": column_schema(store.schema(lake.training_uri, day)),
            "fraud_share_by_day": lines(
                {"share": (range(len(shares)), shares)},
                "share of fraud by day of the window",
            ),
        },
        data_version=dg.DataVersion(found.digest),
        check_results=[
            dg.AssetCheckResult(
                check_name="states_readable",
                passed=found.unreadable == 0,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"unreadable": found.unreadable},
            )
        ],
    )


@dg.asset(
    group_name=GROUP,
    kinds={"xgboost", "mlflow"},
    owners=[OWNER],
    deps=[training_set],
    partitions_def=daily,
    freshness_policy=fresh_within(8 * 24),
    metadata={"dagster/column_schema": column_schema(vector_schema(FEATURES))},
    # By key, all of them: dagster-mlflow's resource is no type, and Dagster takes one way or the other.
    required_resource_keys={"lake", "settings", "mlflow", "model_registry"},
    hooks={end_mlflow_on_run_finished},
)
def fraud_model(context: dg.AssetExecutionContext) -> Result:
    """XGBoost tuned on the training set of the same day, with manifest and golden vectors; logged and registered.

    Also where it fails a gate: it is kept, and tagged with what it failed by. The checks block its promotion.
    """
    # Here, for they bring XGBoost, Optuna and MLflow: four seconds that no other command should wait for.
    from fraud_assets.defs.training.judged import evaluation_metadata
    from fraud_assets.defs.training.model_run import log_model
    from fraud_assets.defs.training.study import study_metadata
    from fraud_assets.training.run import train
    from fraud_assets.training.threshold import costs_of
    from fraud_assets.training.tune import Budget

    lake, settings = context.resources.lake, context.resources.settings
    found = store.load(lake.training_uri, context.partition_key)
    budget = Budget(settings.tuning_trials, settings.tuning_timeout_s)
    trained = train(
        found,
        lake.service,
        settings.model_dir,
        context.partition_key,
        settings.label_delay_days,
        budget,
        settings.exchange_rates,
        costs_of(settings),
        settings.var_dir / "studies",
        SplitKind(settings.training_split),
    )
    store.save_scores(lake.training_uri, context.partition_key, trained.fitted.validation_scores)
    save_holdout(lake.training_uri, trained.manifest.model_version, trained.holdout)
    failed = failures(judge(candidate_of(lake, settings, trained.manifest.model_version)))
    number = log_model(context.resources.mlflow, context.resources.model_registry, trained, settings.model_dir, failed)
    _forget_old_holdouts(lake.training_uri, settings, trained.manifest.model_version)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found),
            "model_version": trained.manifest.model_version,
            "mlflow_version": number,
            "failed_gates": dg.MetadataValue.json(failed),
            "training_set_digest": trained.manifest.training_set_digest,
            **{name: round(value, 5) for name, value in trained.fitted.metrics.items()},
            **evaluation_metadata(trained.evaluation),
            **study_metadata(trained.fitted.study),
            "dagster/column_schema": column_schema(vector_schema(trained.manifest.feature_names)),
            "importances": bars(dict(trained.fitted.importances), "total gain"),
        },
        data_version=dg.DataVersion(trained.manifest.model_version),
    )


def _forget_old_holdouts(root: str, settings: Settings, version: str) -> None:
    """Not of who serves, challenges or may come back, whose unseen scores are asked for."""
    rollout = follow(settings.model_dir)
    named = {one.version for one in (rollout.champion, rollout.challenger, rollout.previous) if one}
    forget_holdouts(root, settings.model_dir, {version, *named}, settings.holdouts_kept)


@dg.asset(
    group_name=GROUP,
    kinds={"mlflow"},
    owners=[OWNER],
    deps=[fraud_model],
    partitions_def=daily,
    freshness_policy=fresh_within(8 * 24),
    metadata={"dagster/column_schema": column_schema(vector_schema(FEATURES))},
)
def champion_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    settings: dg.ResourceParam[Settings],
    model_registry: dg.ResourceParam[ModelRegistry],
) -> Result:
    """The model of the day, champion at once or, with FRAUD_ROLLOUT=shadow, beside it first: a step of the promotion log.

    The candidate passes the gates here too: the run whose checks it failed may have been another. The registry is asked before
    the step, so that scorers follow a version that it knows, and told after it.
    """
    version = latest_model(settings.model_dir, context.partition_key)
    gates = require_gates(candidate_of(lake, settings, version))
    measured = {name: dict(verdict.measured) for name, verdict in gates.items()}
    registered, named = model_registry.registered(version), champion_of(settings.model_dir, version)
    log = PromotionLog(settings.model_dir)
    rollout, done = admit(
        log,
        named,
        None if settings.rollout == "direct" else Plan.of(settings),
        time.time_ns() // 1_000_000,
        who="champion_model",
        why=f"passes every gate as of {context.partition_key}",
        evidence={"dagster_run_id": context.run.run_id, "gates": measured},
    )
    model_registry.reconcile(standing(entry.rollout for entry in log.entries()))
    return dg.MaterializeResult(
        metadata={
            **_rows(lake.training_uri, context.partition_key),
            "model_version": version,
            "mlflow_version": registered.number,
            "manifest_sha256": named.manifest_sha256,
            "step": done,
            **rollout_metadata(rollout),
            "dagster/column_schema": column_schema(
                vector_schema(manifest_of(settings.model_dir, version).feature_names)
            ),
            **scored_above({"validation days": store.load_scores(lake.training_uri, context.partition_key)}),
            "gates": dg.MetadataValue.json(measured),
        }
    )
