"""What a model must show before scorers may serve it. Each gate says what it measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fraud_assets.models.artifact import Champion, load_champion
from fraud_assets.models.manifest import MANIFEST_FILE, Definitions, RefusedModel, sha256
from fraud_assets.training.as_of import manifest_of

# Precision at a random ranking is the prior: a model that does not triple it has learnt next to nothing.
MIN_LIFT = 3.0
MAX_FPR = 0.02


class FailedGates(ValueError):
    """A model that scorers may not serve. The message names each failed gate with what it measured."""


@dataclass(frozen=True)
class Verdict:
    passed: bool
    measured: Mapping[str, float | str]


def ranks_better_than_chance(metrics: Mapping[str, float]) -> Verdict:
    """Average precision on the held-out days against the share of fraud there."""
    lift = metrics["average_precision"] / metrics["prior"]
    return Verdict(
        lift >= MIN_LIFT, {"average_precision": metrics["average_precision"], "prior": metrics["prior"], "lift": lift}
    )


def spares_good_customers(metrics: Mapping[str, float]) -> Verdict:
    """False positive rate at the chosen threshold, of models on rows that they had not seen."""
    return Verdict(metrics["fpr"] <= MAX_FPR, {"fpr": metrics["fpr"], "at_most": MAX_FPR, "recall": metrics["recall"]})


def loads_and_agrees(model_dir: Path, version: str, definitions: Definitions) -> Verdict:
    """A scorer's own way of loading: hashes, definitions, a child process, golden vectors."""
    try:
        manifest = (model_dir / version / MANIFEST_FILE).read_bytes()
        model = load_champion(model_dir, Champion(version, sha256(manifest)), definitions)
    except (RefusedModel, FileNotFoundError) as error:
        return Verdict(False, {"version": version, "refused": str(error)})
    return Verdict(True, {"version": version, "golden_vectors": len(model.manifest.golden.scores)})


METRIC_GATES = (ranks_better_than_chance, spares_good_customers)


def require_gates(model_dir: Path, version: str, definitions: Definitions) -> dict[str, Verdict]:
    """Every gate's verdict, by the name of its check. Raises FailedGates.

    For promotion, which may be a run of its own: what another run's checks found does not bind it.
    """
    metrics = manifest_of(model_dir, version).metrics
    verdicts = {gate.__name__: gate(metrics) for gate in METRIC_GATES}
    verdicts["golden_vectors_agree"] = loads_and_agrees(model_dir, version, definitions)
    failed = [f"{name} {dict(verdict.measured)}" for name, verdict in verdicts.items() if not verdict.passed]
    if failed:
        raise FailedGates(
            f"FailedGates: {version} fails {'; '.join(failed)}. The champion stays who it was. "
            "Materialize fraud_model again when its training set has changed, or promote another as-of day's model."
        )
    return verdicts
