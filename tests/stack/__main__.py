"""`make stack-test`: the platform of docker-compose.yml as processes, and what it has to do; a table, and 1 if anything did not hold."""

import sys
import tempfile
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.stack.platform import Failed, Platform, running_platform
from tests.stack.proofs import PROOFS


def main() -> int:
    console = Console()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fraud-compose-") as folder:
        try:
            with running_platform(Path(folder), lambda said: console.print(f"healthy: {said}")) as platform:
                return _prove(platform, console, began)
        except Failed as failed:
            console.print(f"[red]{failed}", markup=False)
            return 1


def _prove(platform: Platform, console: Console, began: float) -> int:
    up_s = time.monotonic() - began
    table = Table(
        "promise", "held", "seconds", "found", title=f"{len(platform.ready_s)} services, healthy after {up_s:.0f} s"
    )
    failed = 0
    for name, proof in PROOFS.items():
        start = time.monotonic()
        try:
            found, held = proof(platform), True
        except Exception as error:  # noqa: BLE001  # the other proofs still run
            found, held = str(error), False
            traceback.print_exc()
        failed += not held
        console.print(f"{'held' if held else 'BROKEN'}: {name}: {found}", markup=False)
        table.add_row(name, "[green]yes" if held else "[red]NO", f"{time.monotonic() - start:.1f}", found)
    console.print(table)
    console.print(f"{len(PROOFS) - failed} passed, {failed} failed in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
