"""What decisions of the lake say of a version on trial, and of the one that it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.models.manifest import Manifest
from fraud_assets.policy.policy import Action
from fraud_assets.rollout.guard import Scored
from fraud_assets.rollout.log import Entry
from fraud_assets.rollout.machine import Appoint, BeginAB, BeginShadow, Rollout
from fraud_assets.stores.decided import by_version, scores_by
from fraud_assets.stores.tail import POSITION

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

# A scorer follows the pointer within a second, and then loads and verifies the model: decisions until then lack the challenger's
# score, and would count as its errors.
FOLLOWED_MS = 30_000
COLUMNS = (
    "event_time_ms", "account_id", "transaction_id", "decided_at_ms", "model_version", "fraud_score", "shadow_scores", "scored_ms",
    "action", "ruled", "degraded_reasons", "self_included", *POSITION,
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Who is judged, and whom it is compared with: None where nobody else scores. begun_ms: when the rollout began."""

    rollout: Rollout
    tried: Manifest
    other: Manifest | None
    begun_ms: int


def begun_ms(entries: Sequence[Entry]) -> int:
    """When the newest rollout began: of a canary, when its shadow did."""
    steps = [entry.step for entry in entries if isinstance(entry.step, BeginShadow | BeginAB | Appoint)]
    return steps[-1].at_ms if steps else 0


def scored_of(trial: Trial, rows: pa.Table) -> Scored:
    """What each decision says of the one on trial, and of the other. A rule's denial counts for both."""
    by_rule = _denied_by_rule(trial, rows)
    scores, took_ms = _said_by(trial.tried, rows)
    theirs = theirs_ms = np.full(len(rows), np.nan)
    others = theirs
    if trial.other is not None:
        theirs, theirs_ms = _said_by(trial.other, rows)
        others = np.where(np.isfinite(theirs), (theirs >= trial.other.thresholds.deny) | by_rule, np.nan)
    return Scored(
        at_ms=rows["decided_at_ms"].to_numpy(),
        own=pc.equal(rows["model_version"], trial.tried.model_version).to_numpy(),
        asked=np.isfinite(scores) | np.isfinite(took_ms),
        scores=scores,
        denied=(scores >= trial.tried.thresholds.deny) | by_rule,
        champion_denied=others,
        took_ms=took_ms,
        champion_took_ms=theirs_ms,
    )


def _said_by(manifest: Manifest, rows: pa.Table) -> tuple[Floats, Floats]:
    """(n,) a version's scores, and how long it took; NaN where it was not asked, or the scorer is one that does not say."""
    version = manifest.model_version
    return scores_by(version, rows), by_version(version, rows["scored_ms"])


def counts(trial: Trial, rows: pa.Table, from_ms: int) -> Flags:
    """Decisions by either of the two, when both served, that read their states: a score without history is nobody's fault."""
    versions = {trial.tried.model_version} | ({trial.other.model_version} if trial.other else set())
    ours = pc.is_in(rows["model_version"], value_set=pa.array(sorted(versions), pa.string())).to_numpy()
    read = pc.equal(pc.list_value_length(rows["degraded_reasons"]), 0).to_numpy()
    alone = ~rows["self_included"].to_numpy()
    found: Flags = ours & read & alone & (rows["decided_at_ms"].to_numpy() >= from_ms)
    return found


def _denied_by_rule(trial: Trial, rows: pa.Table) -> Flags:
    """Where rules alone deny. Scorers of before do not say so: there, where a denial was not the deciding score's."""
    denied = rows["action"].to_numpy() == Action.DENY
    deny = {one.model_version: one.thresholds.deny for one in (trial.tried, trial.other) if one is not None}
    bounds = np.array([deny[version] for version in rows["model_version"].to_pylist()], np.float64)
    found: Flags = denied & (
        pc.equal(rows["ruled"], Action.DENY).fill_null(False).to_numpy() | (rows["fraud_score"].to_numpy() < bounds)
    )
    return found
