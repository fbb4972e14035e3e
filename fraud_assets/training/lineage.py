"""Where a model comes from and where it went: raw days, feature digests, training set, run, who serves it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.artifact import read_champion
from fraud_assets.models.manifest import MODEL_FILE, Manifest, RefusedModel
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.training import store
from fraud_assets.training.as_of import manifest_of
from fraud_assets.training.recipe import Recipe, read_recipe

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DECISIONS = "decisions"
RAW = ("transactions", "activity", "profiles", "label_facts", DECISIONS)


@dataclass(frozen=True)
class Partitions:
    """Days of a raw table that a training set could read: all before its as-of day."""

    table: str
    days: int
    first: str
    last: str
    files: int


@dataclass(frozen=True)
class Set:
    """kept: whether the set of that digest is still there. rows: null where it is not."""

    digest: str
    as_of: str | None
    window: tuple[str, str] | None
    kept: bool
    rows: int | None


@dataclass(frozen=True)
class Run:
    """MLflow's account of the training."""

    run_id: str
    registered_version: int
    aliases: tuple[str, ...]
    stage: str | None


@dataclass(frozen=True)
class Serving:
    """champion: whether scorers that follow the model folder serve it. decisions: made by it, in the lake, and their days."""

    champion: bool
    decisions: int
    first: str | None
    last: str | None


@dataclass(frozen=True)
class Lineage:
    """run: null where MLflow knows no such version."""

    version: str
    model_sha256: str
    code_revision: str
    raw: tuple[Partitions, ...]
    service: str
    service_digest: str
    view_digests: dict[str, str]
    training_set: Set
    run: Run | None
    serving: Serving

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def lineage(
    model_dir: Path, training_root: str, lake: Lake, version: str, client: "MlflowClient", name: str
) -> Lineage:
    """name: of the registered model. Raises FileNotFoundError for a version that is not there."""
    manifest = manifest_of(model_dir, version)
    recipe = read_recipe(model_dir, manifest)
    return Lineage(
        version=version,
        model_sha256=manifest.files[MODEL_FILE],
        code_revision=manifest.code_revision,
        raw=tuple(_partitions(lake, recipe)),
        service=manifest.service,
        service_digest=manifest.service_digest,
        view_digests=dict(manifest.view_digests),
        training_set=_set(training_root, manifest, recipe),
        run=_run(client, name, version),
        serving=_serving(model_dir, lake, version),
    )


def _partitions(lake: Lake, recipe: Recipe | None) -> list[Partitions]:
    found = []
    for table in RAW:
        listed = [day for day, _ in lake.files(table) if recipe is None or day < recipe.as_of]
        if listed:
            days = sorted(set(listed))
            found.append(Partitions(table, len(days), days[0], days[-1], len(listed)))
    return found


def _set(root: str, manifest: Manifest, recipe: Recipe | None) -> Set:
    days = [day for day in store.days(root) if store.digest(root, day) == manifest.training_set_digest]
    window = (_instant(recipe.from_ms), _instant(recipe.to_ms)) if recipe else None
    as_of = recipe.as_of if recipe else (days[0] if days else None)
    rows = store.row_count(root, days[0]) if days else None
    return Set(manifest.training_set_digest, as_of, window, bool(days), rows)


def _run(client: "MlflowClient", name: str, version: str) -> Run | None:
    found = client.search_model_versions(f"name='{name}' and tags.model_version='{version}'")
    if not found:
        return None
    # A search leaves aliases out.
    whole = client.get_model_version(name, found[0].version)
    return Run(whole.run_id or "", int(whole.version), tuple(whole.aliases), whole.tags.get("stage"))


def _serving(model_dir: Path, lake: Lake, version: str) -> Serving:
    try:
        pointer = read_champion(model_dir)
    except RefusedModel:
        pointer = None
    made = {day: count for day in lake.days(DECISIONS) if (count := _decided(lake, day, version))}
    first, last = (min(made), max(made)) if made else (None, None)
    return Serving(pointer is not None and pointer.version == version, sum(made.values()), first, last)


def _decided(lake: Lake, day: str, version: str) -> int:
    """A day at a time: a busy one has millions, and a year does not fit."""
    from_ms = start_ms(day)
    rows = lake.scan(DECISIONS, from_ms=from_ms, to_ms=from_ms + DAY_MS, columns=["model_version"])
    return int(pc.sum(pc.equal(rows["model_version"], version)).as_py() or 0)


def _instant(time_ms: int) -> str:
    """A day where it is one, else to the minute, UTC."""
    text = str(np.datetime64(time_ms, "ms"))
    return text[:10] if time_ms % DAY_MS == 0 else text[:16]


def text_of(found: Lineage) -> str:
    """The chain from top to bottom, a step an indented block."""
    lines = ["raw days of the lake"]
    lines += [f"  {raw.table}: {raw.days} days, {raw.first} to {raw.last}, {raw.files} files" for raw in found.raw]
    lines += ["features", f"  service {found.service}@{found.service_digest}"]
    lines += [f"  view {name}@{digest}" for name, digest in sorted(found.view_digests.items())]
    made = found.training_set
    rows = f"{made.rows:,} rows" if made.rows is not None else "no longer kept"
    window = f", window {made.window[0]} to {made.window[1]}" if made.window else ""
    lines += ["training set", f"  as of {made.as_of or 'an unknown day'}{window}, {rows}", f"  digest {made.digest}"]
    lines += ["run", *(_run_lines(found.run))]
    lines += ["model", f"  {found.version}, code {found.code_revision}", f"  sha256 {found.model_sha256}"]
    lines += [
        "serving",
        f"  {'champion: scorers that follow the model folder serve it' if found.serving.champion else 'not the champion'}",
    ]
    serving = found.serving
    between = f", {serving.first} to {serving.last}" if serving.first else ""
    lines.append(f"  {serving.decisions:,} decisions in the lake{between}")
    return "\n".join(lines)


def _run_lines(run: Run | None) -> list[str]:
    if run is None:
        return ["  MLflow knows no such version"]
    aliases = f", alias {', '.join(run.aliases)}" if run.aliases else ""
    return [
        f"  MLflow run {run.run_id}",
        f"  registered as version {run.registered_version}, stage {run.stage}{aliases}",
    ]
