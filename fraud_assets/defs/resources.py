"""What assets are given: the lake, DuckDB over it, MLflow, the online store, the settings.

MLflow is imported by who uses it: it takes two seconds, and most commands train nothing.
"""

from collections.abc import Iterator, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from fraud_assets.defs.partitions import SETTINGS
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.monitoring.quality import Judge
from fraud_assets.settings import Settings
from fraud_assets.stores.files import beside
from fraud_assets.stores.history import HistoryReader
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import OnlineStates
from fraud_assets.stores.registry import ModelRegistry, prepare_store

EXPERIMENT = "fraud"
BULK_TIMEOUT_S = 30.0  # a snapshot writes thousands of states at a time, and nobody waits for it


class LakeResource(dg.ConfigurableResource[Lake]):
    """The lake of the settings, and the features beside it. One reading of the log per run."""

    uri: str

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.uri)

    @property
    def features_uri(self) -> str:
        return beside(self.uri, "features")

    @property
    def training_uri(self) -> str:
        return beside(self.uri, "training")

    @property
    def labels_uri(self) -> str:
        """What is made of labels as of a day: maturity, identity graph, confidences."""
        return beside(self.uri, "labels")

    def reader(self, run_id: str) -> HistoryReader:
        """The log as this run read it first; a later run reads again."""
        return _reader(self.uri, run_id)

    def judge(self, run_id: str, horizon_ms: int) -> Judge:
        """What this run thinks of raw days. Views of one run read the same ones."""
        return _judge(self.uri, run_id, horizon_ms)

    @property
    def plan(self) -> EnginePlan:
        return _plan()

    @cached_property
    def service(self) -> ServicePlan:
        return ServicePlan(self.plan, FRAUD_SCORING)


@cache
def _plan() -> EnginePlan:
    return EnginePlan(registry())


@lru_cache(maxsize=1)
def _reader(uri: str, run_id: str) -> HistoryReader:  # noqa: ARG001  # the run is the key
    """Outside the resource, of which every step gets a copy."""
    return HistoryReader(Lake(uri), _plan())


@lru_cache(maxsize=1)
def _judge(uri: str, run_id: str, horizon_ms: int) -> Judge:  # noqa: ARG001  # the run is the key
    return Judge(Lake(uri), horizon_ms)


class OnlineStoreResource(dg.ConfigurableResource[OnlineStates]):
    """The online store, for writers that fill it in bulk."""

    url: str

    def connect(self) -> OnlineStates:
        return OnlineStore.connect(self.url, registry(), BULK_TIMEOUT_S)


def mlflow_resource(settings: Settings) -> dg.ResourceDefinition:
    """dagster-mlflow's resource on a store that exists: one MLflow run for each Dagster run.

    The run ends with the resource, so that a process which executes two Dagster runs logs to two.
    """

    @dg.resource(config_schema={"experiment_name": str, "mlflow_tracking_uri": str})
    def run(context: dg.InitResourceContext) -> Iterator[Any]:
        import mlflow
        from dagster_mlflow import mlflow_tracking

        prepare_store(settings.mlflow_tracking_uri, EXPERIMENT, Path(settings.var_dir) / "mlflow" / "artifacts")
        start: Any = mlflow_tracking.resource_fn  # typed as taking nothing, which a beta may be forgiven
        try:
            yield from start(context)
        finally:
            mlflow.end_run()

    return run.configured({"experiment_name": EXPERIMENT, "mlflow_tracking_uri": settings.mlflow_tracking_uri})


def _end_mlflow(context: dg.HookContext, events: Sequence[dg.DagsterEvent]) -> Any:
    from dagster_mlflow import end_mlflow_on_run_finished as theirs

    hook: Any = theirs.hook_fn
    return hook(context, events)


end_mlflow_on_run_finished = dg.HookDefinition(
    name="end_mlflow_on_run_finished", hook_fn=_end_mlflow, required_resource_keys={"mlflow"}
)
"""dagster-mlflow's hook of that name: the MLflow run ends as the step ended."""


def resources_of(settings: Settings) -> dict[str, Any]:
    """Everything an asset may ask for, by key."""
    return {
        "settings": dg.ResourceDefinition.hardcoded_resource(settings),
        "lake": LakeResource(uri=settings.lake_uri),
        "duckdb": DuckDBResource(database=":memory:"),
        "online_store": OnlineStoreResource(url=settings.online_store_url),
        "mlflow": mlflow_resource(settings),
        "model_registry": dg.ResourceDefinition(lambda _: ModelRegistry(settings.mlflow_tracking_uri)),
    }


@dg.definitions
def defs() -> dg.Definitions:
    """In one process, one asset after the other: each uses both cores, and shares what was read."""
    return dg.Definitions(resources=resources_of(SETTINGS), executor=dg.in_process_executor)
