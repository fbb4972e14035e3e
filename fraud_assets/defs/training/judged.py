"""What a model did on rows it had not seen, as asset metadata: numbers over time, a table of slices, two curves."""

from typing import Any

import dagster as dg

from fraud_assets.defs.metadata import lines
from fraud_assets.training.evaluation import Calibration, Evaluation, SliceMetrics


def evaluation_metadata(found: Evaluation) -> dict[str, Any]:
    """Nothing that is null: metadata holds no NaN."""
    numbers = {name: round(value, 6) for name, value in found.metrics().items()}
    whole = found.overall.confusion
    return {
        **numbers,
        "confusion": dg.MetadataValue.json(
            {name: getattr(whole, name) for name in whole.__struct_fields__} | {"deny": found.thresholds.deny}
        ),
        "slices": dg.MetadataValue.table([_record(name, one) for name, one in found.slices.items()]),
        "precision_recall": lines(
            {"unseen rows": (found.curve.recall, found.curve.precision)}, "precision over recall, on unseen rows"
        ),
        "reliability": _reliability(found.calibration),
    }


def _reliability(found: Calibration) -> dg.MarkdownMetadataValue:
    top = max(*found.predicted, *found.observed)
    return lines(
        {"share of fraud": (found.predicted, found.observed), "as it should be": ([0.0, top], [0.0, top])},
        "share of fraud over mean score, by quantile of the score",
    )


def _record(name: str, found: SliceMetrics) -> dg.TableRecord:
    said = found.confusion
    shares = {"recall": said.recall, "precision": said.precision, "f1": said.f1, "fpr": said.fpr}
    return dg.TableRecord(
        {
            "slice": name,
            "rows": found.rows,
            "frauds": said.frauds,
            **{key: None if value is None else round(value, 4) for key, value in shares.items()},
            "average_precision": None if found.average_precision is None else round(found.average_precision, 4),
        }
    )
