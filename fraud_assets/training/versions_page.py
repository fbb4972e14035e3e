"""The last versions side by side, as one HTML file: no network, no scripts, opens anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from fraud_assets.models.artifact import read_champion, replace_file
from fraud_assets.models.manifest import MANIFEST_FILE, Manifest, RefusedModel, parse_manifest
from fraud_assets.training.evaluation import Curve, Evaluation, SliceMetrics, read_evaluation

SHOWN_FEATURES = 15
COLOURS = 8  # classes of the template; more curves than that in one picture nobody can tell apart
WIDTH, HEIGHT, MARGIN = 640, 360, 40


class NoModels(LookupError):
    """There is nothing to show; the message says where was looked."""


@dataclass(frozen=True)
class Version:
    """evaluation: null of a model made before there were any, which is listed and not drawn."""

    manifest: Manifest
    evaluation: Evaluation | None
    champion: bool

    @property
    def name(self) -> str:
        return self.manifest.model_version

    @property
    def made(self) -> str:
        return f"{str(np.datetime64(self.manifest.created_at_ms, 'ms'))[:16].replace('T', ' ')} UTC"


@dataclass(frozen=True)
class FeatureRow:
    """shares: of each version's total gain, in the versions' order; null where it is not among its largest."""

    feature: str
    shares: tuple[float | None, ...]


def last_versions(model_dir: Path, count: int) -> list[Version]:
    """The newest first. Raises NoModels; RefusedModel for an evaluation that was changed."""
    found = [_manifest(path) for path in model_dir.glob(f"*/{MANIFEST_FILE}")]
    newest = sorted((one for one in found if one is not None), key=lambda one: (-one.created_at_ms, one.model_version))
    if not newest:
        raise NoModels(f"NoModels: {model_dir} holds no model. Materialize fraud_model first.")
    pointer = read_champion(model_dir)
    served = pointer.version if pointer else None
    return [Version(one, read_evaluation(model_dir, one), one.model_version == served) for one in newest[:count]]


def _manifest(path: Path) -> Manifest | None:
    """None for a folder of another format, or half of one: a page of the others is of more use than none."""
    try:
        return parse_manifest(path.read_bytes())
    except RefusedModel:
        return None


def write_page(versions: Sequence[Version], path: Path) -> Path:
    """Write it, at once; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, render(versions).encode())
    return path


def render(versions: Sequence[Version]) -> str:
    # Everything is escaped but the chart, whose text is escaped where it is made.
    environment = Environment(
        loader=PackageLoader("fraud_assets.training"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    environment.filters["share"] = lambda value: "–" if value is None else f"{100 * value:.1f} %"
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.4f}"
    judged = [version for version in versions if version.evaluation is not None]
    return environment.get_template("versions.html.j2").render(
        versions=versions,
        judged=judged,
        colour={version.name: f"v{place % COLOURS}" for place, version in enumerate(versions)},
        curves=Markup(curves(judged, versions)),  # noqa: S704
        features=features(judged),
        slices=slices(judged),
    )


def features(judged: Sequence[Version]) -> list[FeatureRow]:
    """The features that matter most to any version, by their largest share."""
    shares = [_shares(version) for version in judged]
    most = {name: max(one.get(name, 0.0) for one in shares) for one in shares for name in one}
    ranked = sorted(most, key=lambda name: (-most[name], name))[:SHOWN_FEATURES]
    return [FeatureRow(name, tuple(one.get(name) for one in shares)) for name in ranked]


def _shares(version: Version) -> dict[str, float]:
    gains = version.evaluation.importances if version.evaluation else {}
    whole = sum(gains.values())
    return {name: gain / whole for name, gain in gains.items()} if whole else {}


def slices(judged: Sequence[Version]) -> list[tuple[str, list[SliceMetrics | None]]]:
    """Each slice of any version, with what each says of it."""
    said = [version.evaluation.slices if version.evaluation else {} for version in judged]
    names = list(dict.fromkeys(name for one in said for name in one))
    return [(name, [one.get(name) for one in said]) for name in names]


def curves(judged: Sequence[Version], versions: Sequence[Version]) -> str:
    """Precision over recall as inline SVG, a line each; colours by place among all versions."""
    order = [version.name for version in versions]
    parts = [_axes()]
    for version in judged:
        assert version.evaluation is not None
        colour = f"v{order.index(version.name) % COLOURS}"
        points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in _points(version.evaluation.curve))
        parts.append(
            f'<polyline class="line {colour}" points="{points}"><title>{escape(version.name)}</title></polyline>'
        )
        said = version.evaluation.overall.confusion
        if said.recall is not None and said.precision is not None:
            parts.append(
                f'<circle class="dot {colour}" cx="{_x(said.recall):.1f}" cy="{_y(said.precision):.1f}" r="4"/>'
            )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="precision over recall">{"".join(parts)}</svg>'


def _points(curve: Curve) -> list[tuple[float, float]]:
    return list(zip(curve.recall, curve.precision, strict=True))


def _axes() -> str:
    ticks = []
    for tenth in range(0, 11, 2):
        at = tenth / 10
        ticks.append(
            f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(at):.1f}" y2="{_y(at):.1f}"/>'
            f'<text class="tick" x="{_x(0) - 6}" y="{_y(at) + 4:.1f}" text-anchor="end">{at:.1f}</text>'
            f'<text class="tick" x="{_x(at):.1f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{at:.1f}</text>'
        )
    return "".join(ticks) + f'<text class="tick" x="{_x(1)}" y="{HEIGHT - 6}" text-anchor="end">recall</text>'


def _x(recall: float) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * recall


def _y(precision: float) -> float:
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * precision
