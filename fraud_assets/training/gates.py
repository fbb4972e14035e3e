"""What a model must show before scorers may serve it. Each gate says what it measured.

Some are absolute; two ask the champion too, on the same rows (compare.py). Where it cannot be asked, they say why and pass:
the absolute ones remain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fraud_assets.models.artifact import Champion, load_champion
from fraud_assets.models.manifest import MANIFEST_FILE, Definitions, Manifest, RefusedModel, sha256
from fraud_assets.models.served import ServedModel
from fraud_assets.settings import Settings
from fraud_assets.training.as_of import manifest_of
from fraud_assets.training.compare import Comparison, NotCompared, compare
from fraud_assets.training.evaluation import Confusion, Evaluation, read_evaluation
from fraud_assets.training.latency import row_us

# Precision at a random ranking is the prior: a model that does not triple it has learnt next to nothing.
MIN_LIFT = 3.0
MAX_FPR = 0.02
MAX_SLICE_LOSS = 0.02
MIN_SLICE_FRAUDS = 50  # among fewer, one fraud is more than two points of recall
CHANCE = 2.0  # standard errors of the gap
ROUNDING = 1e-9  # two points of recall are two points, whatever a float makes of them


class FailedGates(ValueError):
    """A model that scorers may not serve. The message names each failed gate with what it measured."""


@dataclass(frozen=True)
class Verdict:
    passed: bool
    measured: Mapping[str, float | str]


@dataclass(frozen=True)
class Limits:
    """calibration_gap: of the mean score, as a part of the share of fraud. row_us: for one row."""

    calibration_gap: float = 0.25
    row_us: float = 15.0

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(settings.max_calibration_gap, settings.row_budget_us)


@dataclass(frozen=True)
class Candidate:
    """A model that was trained, and where what gates ask of it lies. Read when asked for, once."""

    model_dir: Path
    training_root: str
    version: str
    definitions: Definitions
    limits: Limits = Limits()

    @cached_property
    def manifest(self) -> Manifest:
        return manifest_of(self.model_dir, self.version)

    @cached_property
    def evaluation(self) -> Evaluation | None:
        return read_evaluation(self.model_dir, self.manifest)

    @cached_property
    def comparison(self) -> Comparison | str:
        """With the champion, or why there is none."""
        try:
            return compare(self.model_dir, self.training_root, self.version)
        except NotCompared as reason:
            return str(reason)

    @cached_property
    def served(self) -> ServedModel | str:
        """Loaded as a scorer loads it: hashes, definitions, a child process, golden vectors. Or why it is not."""
        try:
            manifest = (self.model_dir / self.version / MANIFEST_FILE).read_bytes()
            return load_champion(self.model_dir, Champion(self.version, sha256(manifest)), self.definitions)
        except (RefusedModel, FileNotFoundError) as error:
            return str(error)


def ranks_better_than_chance(metrics: Mapping[str, float]) -> Verdict:
    """Average precision on the held-out days against the share of fraud there, which is what chance gives.

    Three times that; or half of the way from it to 1, where that is less: amid an attack of a third of all payments nobody could triple it.
    """
    found, prior = metrics["average_precision"], metrics["prior"]
    wanted = min(MIN_LIFT * prior, (1 + prior) / 2)
    return Verdict(
        found >= wanted, {"average_precision": found, "at_least": wanted, "prior": prior, "lift": found / prior}
    )


def spares_good_customers(metrics: Mapping[str, float]) -> Verdict:
    """False positive rate at the chosen threshold, of models on rows that they had not seen."""
    return Verdict(metrics["fpr"] <= MAX_FPR, {"fpr": metrics["fpr"], "at_most": MAX_FPR, "recall": metrics["recall"]})


def loads_and_agrees(candidate: Candidate) -> Verdict:
    """A scorer's own way of loading."""
    model = candidate.served
    if isinstance(model, str):
        return Verdict(False, {"version": candidate.version, "refused": model})
    return Verdict(True, {"version": candidate.version, "golden_vectors": len(model.manifest.golden.scores)})


def within_latency_budget(candidate: Candidate) -> Verdict:
    """One row by the loaded model; the service's own time comes on top of it."""
    model, budget = candidate.served, candidate.limits.row_us
    if isinstance(model, str):
        return Verdict(False, {"version": candidate.version, "refused": model})
    found = row_us(model, budget)
    return Verdict(found <= budget, {"row_us": found, "at_most": budget, "trees": len(model.trees.roots)})


def calibrated(found: Evaluation | None, limits: Limits) -> Verdict:
    """The mean score is the share of fraud, but for a part of it and for chance: of a few attacks the share is uncertain."""
    if found is None:
        return Verdict(False, {"refused": "it was trained before models had evaluations; train it again"})
    said, share = found.calibration, found.calibration.share_of_fraud
    if said.gap_error is None:
        return Verdict(False, {"refused": "how uncertain its gap is was not kept, or it saw one day; train it again"})
    allowed = limits.calibration_gap * share + CHANCE * said.gap_error
    return Verdict(
        said.gap <= allowed,
        {
            "gap": said.gap,
            "at_most": allowed,
            "gap_error": said.gap_error,
            "mean_score": said.mean_score,
            "share_of_fraud": share,
            "error": said.ece,
        },
    )


def recall_not_worse(found: Comparison | str) -> Verdict:
    """More frauds found than the champion finds, or as many for no more money, each at its own threshold."""
    if isinstance(found, str):
        return Verdict(True, {"not_compared": found})
    mine, theirs = found.candidate, found.champion
    better = mine.recall > theirs.recall or (mine.recall == theirs.recall and mine.cost_minor <= theirs.cost_minor)
    return Verdict(better, {**_compared(found), "recall": mine.recall, "champions_recall": theirs.recall})


def no_slice_worse(found: Comparison | str) -> Verdict:
    """No slice with frauds enough to tell loses more than two points of recall to the champion."""
    if isinstance(found, str):
        return Verdict(True, {"not_compared": found})
    mine, theirs = found.candidate.slices, found.champion.slices
    judged = {name: one for name, one in mine.items() if one.frauds >= MIN_SLICE_FRAUDS}
    lost = {name: _recall(theirs[name]) - _recall(one) for name, one in judged.items()}
    worse = [f"{name} by {loss:.3f}" for name, loss in lost.items() if loss > MAX_SLICE_LOSS + ROUNDING]
    few = [f"{name} ({one.frauds})" for name, one in mine.items() if name not in judged]
    measured = {**_compared(found), "judged": ", ".join(judged) or "none", "too_few_frauds": ", ".join(few) or "none"}
    return Verdict(not worse, {**measured, "worse": ", ".join(worse) or "none"})


def _recall(found: Confusion) -> float:
    assert found.recall is not None  # of a slice that has frauds
    return found.recall


def _compared(found: Comparison) -> dict[str, float | str]:
    return {
        "champion": found.champion.version,
        "rows": found.rows,
        "frauds": found.frauds,
        "rows_left_out": found.left_out,
        "cost_minor": found.candidate.cost_minor,
        "champions_cost_minor": found.champion.cost_minor,
    }


Gate = Callable[[Candidate], Verdict]
# By the name of the check that blocks on it.
GATES: Mapping[str, Gate] = {
    "ranks_better_than_chance": lambda candidate: ranks_better_than_chance(candidate.manifest.metrics),
    "spares_good_customers": lambda candidate: spares_good_customers(candidate.manifest.metrics),
    "calibrated": lambda candidate: calibrated(candidate.evaluation, candidate.limits),
    "recall_not_worse": lambda candidate: recall_not_worse(candidate.comparison),
    "no_slice_worse": lambda candidate: no_slice_worse(candidate.comparison),
    "golden_vectors_agree": loads_and_agrees,
    "within_latency_budget": within_latency_budget,
}


def judge(candidate: Candidate) -> dict[str, Verdict]:
    """Every gate's verdict, by the name of its check."""
    return {name: _answered(gate, candidate) for name, gate in GATES.items()}


def require_gates(candidate: Candidate) -> dict[str, Verdict]:
    """`judge`, for promotion, which may be a run of its own: what another run's checks found does not bind it.

    Raises FailedGates.
    """
    verdicts = judge(candidate)
    if failed := failures(verdicts):
        raise FailedGates(
            f"FailedGates: {candidate.version} fails {'; '.join(f'{name} {why}' for name, why in failed.items())}."
            " The champion stays who it was."
            " Materialize fraud_model again when its training set has changed, or promote another as-of day's model."
        )
    return verdicts


def failures(verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    """What each gate that did not pass had measured, by its name."""
    return {name: str(dict(verdict.measured)) for name, verdict in verdicts.items() if not verdict.passed}


def verdict_of(name: str, candidate: Candidate) -> Verdict:
    return _answered(GATES[name], candidate)


def _answered(gate: Gate, candidate: Candidate) -> Verdict:
    """A gate whose evidence is gone does not let anybody pass."""
    try:
        return gate(candidate)
    except (FileNotFoundError, RefusedModel) as error:
        return Verdict(False, {"version": candidate.version, "refused": f"{error}; materialize fraud_model again"})
