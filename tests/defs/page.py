"""The commands of docs/operations.md, as a reader would copy them."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def _text(root: Path) -> str:
    return (root / "docs" / "operations.md").read_text()


def commands(root: Path, kind: str) -> list[list[str]]:
    """The arguments of each `dagster <kind> …` that the page shows on lines of its own, in its order."""
    shown = re.findall(r"^    (dagster (?:.*\\\n)*.*)$", _text(root), re.MULTILINE)
    split = [shlex.split(command.replace("\\\n", " "), comments=True)[1:] for command in shown]
    return [arguments for arguments in split if arguments[: len(kind.split())] == kind.split()]


def inline(root: Path) -> set[str]:
    """Dagster's commands in the middle of a sentence."""
    return set(re.findall(r"`(dagster[ -][^`]+)`", _text(root)))


def schedules(root: Path) -> dict[str, str]:
    """Name to UTC time of the table of schedules."""
    return {name: at for at, name in re.findall(r"^\| ([^|]+) \| `(\w+)` \|", _text(root), re.MULTILINE) if ":" in at}


def on_days(arguments: list[str], days: Mapping[str, str]) -> list[str]:
    """The same command for days of a test's history; nothing else of it changes. Raises KeyError for a day not named."""
    return [_DAY.sub(lambda day: days[day[0]], word) for word in arguments]


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]
