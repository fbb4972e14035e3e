"""`make fuzz`: the long form; one JSON line for machines, what failed and how to repeat it for people."""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--openapi", type=int, default=10_000, help="at least so many cases from the OpenAPI document")
    parser.add_argument("--sockets", type=int, default=10_000, help="so many messages on raw sockets")
    parser.add_argument("--seed", type=int, default=None, help="of the run to repeat; another one each time without")
    chosen = parser.parse_args()
    seed = random.randrange(2**31) if chosen.seed is None else chosen.seed
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        result = fuzz(Path(folder), openapi=chosen.openapi, sockets=chosen.sockets, seed=seed)
    for failure in result.failures:
        print(failure, file=sys.stderr)
    print(json.dumps({"name": "fuzz", "seed": seed} | result.line()))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
