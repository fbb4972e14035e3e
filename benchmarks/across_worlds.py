"""What a detector that learnt in one world of the simulator is worth in another, by kind of fraud.

`python -m benchmarks.across_worlds [--seeds N …]`: a world a seed, each judged by the detectors of all others. A JSON line a pair on
standard output.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.worlds import DELAY_DAYS, WARM_UP_DAYS, history
from fraud_assets.evaluate.across import across, settled, truth_beside
from fraud_assets.evaluate.bar import progress_bar


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.across_worlds")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="of the worlds, two or more"
    )
    parser.add_argument("--per-day", type=int, default=2_000, metavar="N", help="purchases")
    options = parser.parse_args()
    known = {}
    with tempfile.TemporaryDirectory() as name, progress_bar(Console(stderr=True)) as bar:
        for seed in bar.track(options.seeds, description="worlds"):
            folder = Path(name) / str(seed)
            found = settled(history(folder, seed, options.per_day), DELAY_DAYS, WARM_UP_DAYS)
            known[seed] = found, truth_beside(folder / "lake", found)
        for one, other in itertools.permutations(options.seeds, 2):
            (train, _), (test, truth) = known[one], known[other]
            print(json.dumps({"train": one, "test": other, **across(train, test, *truth)}), flush=True)


if __name__ == "__main__":
    main()
