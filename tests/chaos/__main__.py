"""`make chaos`: the long form of every proof, a table for people and a JSON line each for machines."""

import argparse
import json
import sys
import time
import traceback

from rich.console import Console
from rich.table import Table

from tests.chaos.proof import LONG, SHORT, Outcome, Proof, Scale
from tests.chaos.proofs import PROOFS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"some of {', '.join(PROOFS)}; all without")
    parser.add_argument("--short", action="store_true", help="as CI runs them")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.only if name not in PROOFS]
    if unknown:
        parser.error(f"no proof is called {', '.join(unknown)}; there are {', '.join(PROOFS)}")
    console = Console(stderr=True)
    table = Table("proof", "promise", "held", "seconds", "figure", title="What was broken, and what held")
    failed = 0
    for name in chosen.only or PROOFS:
        began = time.monotonic()
        with console.status(f"{name}: {PROOFS[name].promise}"):
            outcome = _tried(PROOFS[name], SHORT if chosen.short else LONG, console)
        taken = round(time.monotonic() - began, 1)
        failed += not outcome.passed
        print(
            json.dumps({"name": name, "passed": outcome.passed, "figure": outcome.figure, "seconds": taken}), flush=True
        )
        held = "[green]yes" if outcome.passed else "[red]NO"
        table.add_row(name, PROOFS[name].promise, held, str(taken), json.dumps(outcome.figure))
    console.print(table)
    return 1 if failed else 0


def _tried(proof: Proof, scale: Scale, console: Console) -> Outcome:
    """A proof that breaks down has not held."""
    try:
        return proof.run(scale)
    except Exception as error:  # noqa: BLE001  # the other proofs still run
        console.print(traceback.format_exc())
        return Outcome(False, {"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    sys.exit(main())
