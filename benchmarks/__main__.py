"""`python -m benchmarks [ONLY]`: every benchmark whose module starts with ONLY, each in a process of its own.

Each prints one JSON line a figure: `name, ours, peer, ratio, unit, rows`. Ours and the peer do the
same work in the same run; a ratio above 1 is in our favour. Progress goes to stderr.
"""

import pkgutil
import subprocess
import sys

from rich.console import Console

import benchmarks

# Modules that benchmarks share, and peers that live in an environment of their own.
# label_weights and model_holdout have no peer: docs/model.md has what they say of models, and they are run by hand. engine_backfill takes the disk and half an hour.
NOT_BENCHMARKS = frozenset(
    {"__main__", "across_worlds", "engine_backfill", "label_weights", "measure", "model_holdout", "open_loop", "payments", "peers", "scorer_rig", "synthetic", "worlds"}
)  # fmt: skip


def known() -> list[str]:
    """Modules that measure."""
    return [item.name for item in pkgutil.iter_modules(benchmarks.__path__) if item.name not in NOT_BENCHMARKS]


def main(only: str = "") -> int:
    """Run the matching benchmarks; the exit code says whether all finished, never whether they were fast."""
    console = Console(stderr=True)
    names = known()
    chosen = [name for name in names if name.startswith(only.replace(".", "_"))]
    if not chosen:
        console.print(f"No benchmark starts with {only!r}. Known: {', '.join(names)}.")
        return 2
    failed = []
    for place, name in enumerate(chosen, start=1):
        console.print(f"[{place}/{len(chosen)}] {name}", style="bold")
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    console.print(
        f"failed: {', '.join(failed)}"
        if failed
        else f"{len(chosen)} done. The figures to beat are in docs/benchmarks.md."
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
