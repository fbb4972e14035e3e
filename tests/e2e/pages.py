"""A page of docs/walkthroughs, run as a person would who copies its blocks into one shell; and held against what it says is printed."""

import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

WITHIN_S = 300
# Between the outputs of two blocks; no program prints it.
SEPARATOR = "\x1e"
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Ran(NamedTuple):
    """A block, the output that stands under it (empty where none does), and what it printed."""

    command: str
    shown: str
    printed: str


def run_page(
    page: Path,
    root: Path,
    home: Path,
    addresses: Mapping[str, str],
    settings: Mapping[str, str],
    elsewhere: Collection[str] = (),
    within_s: float = WITHIN_S,
) -> list[Ran]:
    """In `home`, which holds `var`. addresses: those of the page, and where they are here. settings: of a platform on other ports
    than the usual ones. elsewhere: blocks that somebody else runs, and which therefore print nothing here. Raises AssertionError for a block that fails.
    """
    text = page.read_text()
    for usual, here in addresses.items():
        text = text.replace(usual, here)
    blocks = _blocks(text)
    script = "".join(
        f"printf '{SEPARATOR}'\n{'' if command.strip() in elsewhere else command}" for command, _ in blocks
    )
    venv = home / ".venv"
    if not venv.exists():
        venv.symlink_to(Path(sys.prefix))
    env = {**os.environ, **settings, "PYTHONPATH": str(root), "COLUMNS": "160"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=home, env=env, capture_output=True, text=True, timeout=within_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{page.name}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    outputs = done.stdout.split(SEPARATOR)[1:]
    return [Ran(command, shown, printed) for (command, shown), printed in zip(blocks, outputs, strict=True)]


def missing(ran: Ran) -> list[str]:
    """Lines that the page shows, in order, from the first on that was not printed; `…` stands for anything."""
    printed = iter(ran.printed.splitlines())
    shown = ran.shown.splitlines()
    for place, line in enumerate(shown):
        pattern = re.compile(".*".join(re.escape(part) for part in line.split("…")))
        if not any(pattern.fullmatch(candidate.strip()) for candidate in printed):
            return shown[place:]
    return []


def _blocks(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for kind, body in _BLOCK.findall(text):
        if kind == "sh":
            found.append((body, ""))
        else:
            command, _ = found.pop()
            found.append((command, body))
    return found
