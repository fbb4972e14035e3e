"""Gates between a model and the scorers. Blocking: a model that fails one stays where it is, explained."""

import dagster as dg

from fraud_assets.defs.resources import LakeResource
from fraud_assets.models.manifest import Definitions
from fraud_assets.settings import Settings
from fraud_assets.training.as_of import latest_model
from fraud_assets.training.gates import Candidate, Limits, verdict_of


def candidate_of(lake: LakeResource, settings: Settings, version: str) -> Candidate:
    definitions = Definitions.of(lake.plan.registry, lake.service.service)
    return Candidate(settings.model_dir, lake.training_uri, version, definitions, Limits.of(settings))


def gate_check(name: str, description: str) -> dg.AssetChecksDefinition:
    """A check of the model that the newest training of the day gave."""

    @dg.asset_check(asset="fraud_model", name=name, description=description, blocking=True)
    def judged(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]
    ) -> dg.AssetCheckResult:
        version = latest_model(settings.model_dir, context.op_execution_context.partition_key)
        verdict = verdict_of(name, candidate_of(lake, settings, version))
        return dg.AssetCheckResult(passed=verdict.passed, metadata=dict(verdict.measured))

    return judged


better_than_chance = gate_check("ranks_better_than_chance", "Average precision is at least three times the prior.")
low_false_positives = gate_check("spares_good_customers", "At the threshold at most 2 % of good customers are refused.")
scores_are_probabilities = gate_check(
    "calibrated", "The mean score is the share of fraud, within FRAUD_MAX_CALIBRATION_GAP of it and chance."
)
finds_as_much_as_the_champion = gate_check(
    "recall_not_worse", "On the same unseen rows it finds more fraud than the champion, or as much for no more money."
)
no_group_pays_for_it = gate_check(
    "no_slice_worse", "No slice with 50 frauds or more loses more than two points of recall to the champion."
)
golden_vectors_agree = gate_check(
    "golden_vectors_agree",
    "Loaded as a scorer loads it: hashes, definitions, a child process, golden vectors to 1e-6.",
)
fast_enough = gate_check("within_latency_budget", "The loaded model scores one row within FRAUD_ROW_BUDGET_US.")
