"""`python -m fraud_assets.features list`: every feature of a registry, one a line.

A table on a terminal, tab-separated columns into a pipe, JSON with --json.
"""

import argparse
import dataclasses
import importlib
import json
import signal
import sys
from collections.abc import Sequence

from fraud_assets.features.registry import FeatureInfo, Registry, UnknownFeature
from fraud_assets.features.windows import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

CATALOGUES = ("ticketing", "handbook", "sparkov")
COLUMNS = ("name", "entity", "view", "window", "ttl", "digest", "owner")
# Twelve hex digits tell fifty digests apart; --json has them whole.
SHORT_DIGEST = 12


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    registry: Registry = importlib.import_module(f"fraud_assets.features.catalogue.{options.catalogue}").registry()
    try:
        listed = (info for name in options.service or registry.services for info in _features(registry, name))
        found = list(dict.fromkeys(listed))  # services share features
    except UnknownFeature as unknown:
        print(unknown, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([dataclasses.asdict(info) for info in found], indent=1))
    elif sys.stdout.isatty():
        _print_table(found)
    else:
        print("\n".join("\t".join(row) for row in (COLUMNS, *map(_row, found))))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fraud_assets.features", description=__doc__)
    parser.add_argument("command", choices=["list"])
    parser.add_argument("--catalogue", choices=CATALOGUES, default=CATALOGUES[0], help="domain (default: %(default)s)")
    parser.add_argument("--service", action="append", help="only this service's features; may be repeated")
    parser.add_argument("--json", action="store_true", help="whole digests, TTL in milliseconds")
    return parser.parse_args(arguments)


def _features(registry: Registry, service: str) -> list[FeatureInfo]:
    return [info for info in registry.features(registry.service(service)) if not info.hidden]


def _row(info: FeatureInfo) -> tuple[str, ...]:
    return (
        info.name, info.entity, info.view, info.window, _ttl(info.ttl_ms), info.digest[:SHORT_DIGEST], info.owner,
    )  # fmt: skip


def _ttl(ttl_ms: int | None) -> str:
    """The largest unit that divides it: 60m reads as it was declared, and so does 365d."""
    if ttl_ms is None:
        return "-"
    for unit, size in (("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS)):
        if ttl_ms % size == 0:
            return f"{ttl_ms // size}{unit}"
    return f"{ttl_ms}ms"


def _print_table(found: Sequence[FeatureInfo]) -> None:
    # Only here: the scorer's small set of packages has no rich, and a pipe needs none.
    from rich.console import Console
    from rich.table import Table

    table = Table(*COLUMNS, title=f"{len(found)} features", row_styles=["", "dim"])
    for info in found:
        table.add_row(*_row(info))
    Console().print(table)


if __name__ == "__main__":
    # `… list | head` closes the pipe early; that is no error.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
