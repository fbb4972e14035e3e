"""`make chaos`: the long form of every proof, a table for people and a JSON line each for machines."""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from deploy.local.kafka import KAFKA
from tests.chaos.brokers import CHOSEN
from tests.chaos.proof import LONG, SHORT, Outcome, Proof, Scale
from tests.chaos.proofs import ON_KAFKA, PROOFS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"some of {', '.join(PROOFS)}; all without")
    parser.add_argument("--short", action="store_true", help="as CI runs them")
    parser.add_argument("--kafka", action="store_true", help="those about a log, each on an Apache Kafka 4 of its own")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.only if name not in PROOFS]
    if unknown:
        parser.error(f"no proof is called {', '.join(unknown)}; there are {', '.join(PROOFS)}")
    if chosen.kafka and (others := [name for name in chosen.only if name not in ON_KAFKA]):
        parser.error(f"--kafka is for {', '.join(ON_KAFKA)}: {', '.join(others)} would run on the embedded broker")
    if chosen.kafka:
        os.environ[CHOSEN] = KAFKA.name
    return _prove(chosen.only or (ON_KAFKA if chosen.kafka else PROOFS), SHORT if chosen.short else LONG)


def _prove(names: Iterable[str], scale: Scale) -> int:
    """Run them one after the other; 1 if one does not hold."""
    console = Console(stderr=True)
    table = Table("proof", "promise", "held", "seconds", "figure", title="What was broken, and what held")
    failed = 0
    for name in names:
        began = time.monotonic()
        with console.status(f"{name}: {PROOFS[name].promise}"):
            outcome = _tried(PROOFS[name], scale, console)
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
