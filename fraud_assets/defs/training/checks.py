"""Gates between a model and the scorers. Blocking: a model that fails one stays where it is, explained."""

from collections.abc import Callable, Mapping

import dagster as dg

from fraud_assets.defs.resources import LakeResource
from fraud_assets.models.manifest import Definitions
from fraud_assets.settings import Settings
from fraud_assets.training.as_of import latest_model, manifest_of
from fraud_assets.training.gates import Verdict, loads_and_agrees, ranks_better_than_chance, spares_good_customers

Gate = Callable[[Mapping[str, float]], Verdict]


def metric_gate(gate: Gate, description: str) -> dg.AssetChecksDefinition:
    """A check of what the manifest says was measured on the held-out days."""

    @dg.asset_check(asset="fraud_model", name=gate.__name__, description=description, blocking=True)
    def judged(context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        version = latest_model(settings.model_dir, context.op_execution_context.partition_key)
        verdict = gate(manifest_of(settings.model_dir, version).metrics)
        return dg.AssetCheckResult(passed=verdict.passed, metadata=dict(verdict.measured))

    return judged


@dg.asset_check(
    asset="fraud_model",
    blocking=True,
    description="Loaded as a scorer loads it: hashes, definitions, a child process, golden vectors to 1e-6.",
)
def golden_vectors_agree(
    context: dg.AssetCheckExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    version = latest_model(settings.model_dir, context.op_execution_context.partition_key)
    definitions = Definitions.of(lake.plan.registry, lake.service.service)
    verdict = loads_and_agrees(settings.model_dir, version, definitions)
    return dg.AssetCheckResult(passed=verdict.passed, metadata=dict(verdict.measured))


better_than_chance = metric_gate(ranks_better_than_chance, "Average precision is at least three times the prior.")
low_false_positives = metric_gate(spares_good_customers, "At the threshold at most 2 % of good customers are refused.")
