"""The drift report as a page: Evidently draws the columns that moved most; it decides nothing.

Its own numeric index has bins of equal width and reports a third of a shift in a skewed amount, so it is
given ours, column by column. Only the asset's body imports this module: Evidently and pandas take seconds.
Nothing is sent anywhere: Evidently's telemetry belongs to its server, which is not loaded here.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from evidently.metrics import ValueDrift

from fraud_assets.monitoring.drift import DRIFTED, Drift, Sample

SCORE = "fraud_score"
# A page of 20 columns is 4 MB whatever it shows; more rows add megabytes and no insight.
ROWS = 2_000
METHOD = "quantile_psi"


def write_drift_page(found: Drift, reference: Sample, current: Sample, path: Path) -> int:
    """Write the page, at once; how many columns it shows. Columns that are all null on a side have no picture."""
    psi = {moved.name: moved.psi for moved in found.moved}
    if found.score_psi is not None:
        psi = {SCORE: found.score_psi, **psi}
    before, now = (_frame(sample.thinned(ROWS), psi) for sample in (reference, current))
    shown = [name for name in psi if before[name].notna().any() and now[name].notna().any()]
    if not shown:
        return 0
    _decide_by(psi)
    # Not the preset: it would announce what share has drifted of columns that are here because they have.
    pictures = [ValueDrift(column=name, method=METHOD, threshold=DRIFTED) for name in shown]
    columns = DataDefinition(numerical_columns=shown)
    with np.errstate(invalid="ignore", divide="ignore"):  # correlations of a constant
        page = Report(pictures).run(
            Dataset.from_pandas(now[shown], columns), Dataset.from_pandas(before[shown], columns)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.tmp")
    page.save_html(str(draft))
    draft.replace(path)
    return len(shown)


def _frame(sample: Sample, names: dict[str, float]) -> pd.DataFrame:
    """A column each; the scores may be of fewer rows, and are filled up with nulls."""
    columns = {name: pd.Series(sample.scores if name == SCORE else sample.column(name)) for name in names}
    return pd.DataFrame(columns)


def _decide_by(psi: dict[str, float]) -> None:
    """Evidently knows methods by name; ours looks up what was decided from all rows."""

    def looked_up(
        reference: "pd.Series", _current: "pd.Series", _kind: ColumnType, _threshold: float
    ) -> tuple[float, bool]:
        value = psi[str(reference.name)]
        return value, value > DRIFTED

    method = StatTest(METHOD, "PSI over quantiles of the reference", [ColumnType.Numerical], DRIFTED)
    register_stattest(method, looked_up)
