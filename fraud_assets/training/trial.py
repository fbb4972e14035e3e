"""What a rollout's guard is shown: decisions and matured labels of the lake, each once, from a place that is kept between looks."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.manifest import Manifest
from fraud_assets.policy.policy import Action
from fraud_assets.rollout.guard import Gathered, Guard, Matured, Scored
from fraud_assets.rollout.log import Entry
from fraud_assets.rollout.machine import HOUR_MS, Appoint, BeginAB, BeginShadow, Rollout
from fraud_assets.stores.identity import identities
from fraud_assets.stores.lake import Lake
from fraud_assets.training.verdicts import FACT_COLUMNS, verdicts

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

# A scorer follows the pointer within a second, and then loads and verifies the model: decisions until then lack the challenger's
# score, and would count as its errors.
FOLLOWED_MS = 30_000
# A payment is decided when it happens. Decisions on older ones are replays, and are not looked for.
LATEST_MS = DAY_MS
# How long the label stage and its sink may take after a label was due.
SETTLED_MS = HOUR_MS
# Decisions of one look: a second's work. A guard that is switched on late, or was off for days, catches up look by look, and each must
# end within the minute that Dagster gives a sensor.
AT_ONCE = 200_000
POSITION = ("source_topic", "source_partition", "source_offset")
COLUMNS = (
    "event_time_ms", "account_id", "transaction_id", "decided_at_ms", "model_version", "fraud_score", "shadow_scores", "scored_ms",
    "action", "ruled", "degraded_reasons", "self_included", *POSITION,
)  # fmt: skip


class Place(msgspec.Struct, frozen=True):
    """Up to where a phase's evidence has been gathered; JSON-able.

    offsets: "<topic>/<partition>" to the last decision read. decided_ms: of the newest of them. matured_ms: payments before it were
    shown with their label.
    """

    gathered: Gathered
    offsets: dict[str, int]
    decided_ms: int
    matured_ms: int


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


def first_place(guard: Guard, rollout: Rollout, delay_ms: int) -> Place:
    """Of a phase of which nothing was seen yet."""
    since = rollout.since_ms
    return Place(guard.begin(rollout), {}, since, (since - delay_ms - SETTLED_MS) // HOUR_MS * HOUR_MS)


def fold_new(guard: Guard, trial: Trial, place: Place, lake: Lake, delay_ms: int, now_ms: int) -> tuple[Place, bool]:
    """The place after what the lake has got since, AT_ONCE decisions at most; and whether that was all."""
    rows = where_new(lake.scan("decisions", place.decided_ms - LATEST_MS, columns=COLUMNS), place.offsets)
    # What came before the phase is of no use to it, and would fill its first looks.
    rows = rows.filter(pc.greater_equal(rows["decided_at_ms"], trial.rollout.since_ms))
    new = rows.slice(0, AT_ONCE)  # in log order, so of each partition the first ones
    gathered = place.gathered
    counted = new.filter(pa.array(_counts(trial, new, trial.rollout.since_ms + FOLLOWED_MS)))
    gathered = guard.fold(gathered, scored=scored_of(trial, counted))
    until_ms = (now_ms - delay_ms - SETTLED_MS) // HOUR_MS * HOUR_MS
    if until_ms > place.matured_ms:
        gathered = guard.fold(gathered, matured=matured_of(trial, lake, place.matured_ms, until_ms))
    newest = min(pc.max(new["decided_at_ms"]).as_py() or place.decided_ms, now_ms)  # a scorer's clock may be ahead
    decided_ms, matured_ms = max(newest, place.decided_ms), max(until_ms, place.matured_ms)
    return Place(gathered, _offsets(new, place.offsets), decided_ms, matured_ms), len(new) == len(rows)


def where_new(rows: pa.Table, offsets: dict[str, int]) -> pa.Table:
    """Rows behind the offsets that were read: a sink writes a partition in its order, and compaction keeps positions.

    A batch over midnight is two files; who looks between them misses what the second has of it. Nothing is seen twice, which
    is what the guarantee rests on.
    """
    read, partition = np.full(len(rows), -1, np.int64), rows["source_partition"].to_numpy()
    for key, last in offsets.items():
        topic, _, number = key.rpartition("/")
        read[pc.equal(rows["source_topic"], topic).to_numpy() & (partition == int(number))] = last
    return rows.filter(pa.array(rows["source_offset"].to_numpy() > read))


def scored_of(trial: Trial, rows: pa.Table) -> Scored:
    """What each decision says of the one on trial, and of the other. A rule's denial counts for both."""
    by_rule, shadows = _denied_by_rule(trial, rows), shadows_of(rows)
    scores, took_ms = scores_of(trial.tried, rows, shadows), _took_ms(trial.tried, rows)
    theirs = theirs_ms = np.full(len(rows), np.nan)
    others = theirs
    if trial.other is not None:
        theirs, theirs_ms = scores_of(trial.other, rows, shadows), _took_ms(trial.other, rows)
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


def matured_of(trial: Trial, lake: Lake, from_ms: int, to_ms: int) -> Matured:
    """Payments of [from_ms, to_ms) that were let through, with the label they have when all of them have one.

    Not as labels come: fraud is reported within days and nobody reports what is legitimate, so the first labels of a day are
    nearly all fraud. Decisions since the rollout began count, also of the phase before: their labels are news of this one.
    """
    rows = lake.scan("decisions", from_ms, to_ms, columns=COLUMNS)
    rows = rows.filter(pa.array(_counts(trial, rows, trial.begun_ms + FOLLOWED_MS))).sort_by("event_time_ms")
    facts = lake.scan("label_facts", from_ms, columns=[*FACT_COLUMNS, "amount_minor"])
    known = verdicts(facts)
    amounts = dict(zip(identities(facts).to_pylist(), facts["amount_minor"].to_pylist(), strict=True))
    scores, let = scores_of(trial.tried, rows, shadows_of(rows)), rows["action"].to_numpy() != Action.DENY
    names, once = identities(rows).to_pylist(), set()
    places = []
    for place, name in enumerate(names):
        if let[place] and np.isfinite(scores[place]) and name in known and name not in once:
            once.add(name)
            places.append(place)
    return Matured(
        is_fraud=np.array([known[names[place]] == 1 for place in places], bool),
        denied=scores[places] >= trial.tried.thresholds.deny,
        amount_minor=np.array([amounts[names[place]] for place in places], np.float64),
    )


def shadows_of(rows: pa.Table) -> list[dict[str, float]]:
    """What the version that did not decide said of each row, by version."""
    return [dict(said or ()) for said in rows["shadow_scores"].to_pylist()]


def scores_of(manifest: Manifest, rows: pa.Table, shadows: list[dict[str, float]]) -> Floats:
    """(n,) what a version said, be it the one that decided or the other; NaN where it said nothing."""
    version = manifest.model_version
    shadow = [said.get(version, np.nan) for said in shadows]
    decides = rows["model_version"].to_numpy() == version
    return np.where(decides, rows["fraud_score"].to_numpy(), np.array(shadow, np.float64))


def _took_ms(manifest: Manifest, rows: pa.Table) -> Floats:
    """(n,) how long a version took to score; NaN where it was not asked, or the scorer is one that does not say."""
    said = [dict(one or ()) for one in rows["scored_ms"].to_pylist()]
    return np.array([one.get(manifest.model_version, np.nan) for one in said], np.float64)


def _counts(trial: Trial, rows: pa.Table, from_ms: int) -> Flags:
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


def _offsets(rows: pa.Table, before: dict[str, int]) -> dict[str, int]:
    last = rows.group_by(list(POSITION[:2])).aggregate([(POSITION[2], "max")]).to_pylist()
    return {**before, **{f"{one[POSITION[0]]}/{one[POSITION[1]]}": one[f"{POSITION[2]}_max"] for one in last}}
