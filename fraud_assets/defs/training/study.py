"""A tuning study as asset metadata: what was tried, what was chosen, and how far it is from the default."""

import math
from typing import Any

import dagster as dg

from fraud_assets.defs.metadata import lines
from fraud_assets.training.tune import State, Study, Trial


def study_metadata(study: Study) -> dict[str, Any]:
    """Numbers that Dagster plots over partitions, the trials as a table, and the running best as a curve."""
    numbers = [float(trial.number) for trial in study.trials]
    return {
        "trials": len(study.trials),
        "trials_pruned": study.count(State.PRUNED),
        "trials_failed": study.count(State.FAILED),
        "trials_cut_by_time": study.cut,
        "best_trial": study.best.number,
        "best_average_precision": round(study.best.average_precision, 5),
        **_of_default(study.default),
        "best_params": dg.MetadataValue.json({name: _short(value) for name, value in study.best.params.items()}),
        "trial_table": dg.MetadataValue.table([_record(trial) for trial in study.trials]),
        "trial_history": lines(
            {
                "trial": (numbers, [trial.average_precision for trial in study.trials]),
                "best so far": (numbers, study.best_so_far()),
            },
            "average precision on the validation days",
        ),
    }


def _of_default(default: Trial) -> dict[str, float]:
    """Nothing where the default did not complete: metadata holds no NaN."""
    if default.state is not State.COMPLETE:
        return {}
    return {"default_average_precision": round(default.average_precision, 5)}


def _record(trial: Trial) -> dg.TableRecord:
    measured = None if math.isnan(trial.average_precision) else round(trial.average_precision, 5)
    return dg.TableRecord(
        {
            "trial": trial.number,
            "state": str(trial.state),
            "average_precision": measured,
            "rounds": trial.rounds,
            "seconds": round(trial.seconds, 2),
            **{name: _short(value) for name, value in trial.params.items()},
            "reason": trial.reason,
        }
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
