"""A process that makes `training_set` of a day and is killed while it writes: `python -m tests.defs.killed POINT DAY`.

`half`: half of the file's bytes are there. `whole`: all of them, and the partition has not got its new name yet.
"""

import os
import signal
import sys
from pathlib import Path

import dagster as dg
import pyarrow as pa

from fraud_assets.defs.resources import resources_of
from fraud_assets.defs.training.assets import training_set
from fraud_assets.settings import Settings
from fraud_assets.stores import files

POINTS = ("half", "whole")


def main() -> None:
    point, day = sys.argv[1:]
    write = files._write_flushed

    def written_and_killed(path: Path, rows: pa.Table) -> None:
        write(path, rows)
        if point == "half":
            os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    files._write_flushed = written_and_killed
    dg.materialize(
        [training_set], resources=resources_of(Settings()), instance=dg.DagsterInstance.get(), partition_key=day
    )


if __name__ == "__main__":
    main()
