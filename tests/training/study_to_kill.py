"""A study in a process of its own, which says when it is in the middle of a trial and goes no further.

python -m tests.training.study_to_kill FOLDER NAME TRIALS AT
"""

import sys
from pathlib import Path

from fraud_assets.training.space import Params, Range, SearchSpace
from fraud_assets.training.studies import kept
from fraud_assets.training.tune import Budget, Measured, Report, tune

# Two parameters; the best is x = 2, y = 1.
PLANE = SearchSpace(
    (
        Range(name="x", low=0.0, high=10.0, default=5.0, reason="a test"),
        Range(name="y", low=0.1, high=10.0, default=5.0, log=True, reason="a test"),
    ),
    known=({"x": 9.0, "y": 9.0},),
)


def plane(number: int, params: Params, report: Report) -> Measured:
    """Long enough to be asked at every checkpoint, so that some are cut."""
    value = 1.0 - abs(params["x"] - 2.0) / 10.0 - abs(params["y"] - 1.0) / 100.0
    for at_round in range(1, 301):
        report(at_round, value, height=value * at_round)
    return Measured(300, value)


def main(folder: Path, name: str, trials: int, at: int) -> None:
    def stuck(number: int, params: Params, report: Report) -> Measured:
        if number == at:
            report(100, 0.5, height=1.0)
            print(f"in trial {number}", flush=True)
            sys.stdin.read()
        return plane(number, params, report)

    with kept(folder, name) as journal:
        tune(stuck, Budget(trials), PLANE, journal=journal)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
