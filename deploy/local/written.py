"""A summary as a file."""

from pathlib import Path

import msgspec


def write_json(summary: msgspec.Struct, path: Path) -> None:
    """Indented: people read it too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
