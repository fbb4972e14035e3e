"""docs/bad-input.md: every kind of bad input has its row for events and for requests, and every row its tests."""

import re
from functools import cache
from pathlib import Path
from symtable import symtable

import pytest

KINDS = ("malformed", "unknown version", "future-dated", "duplicate", "negative amount", "oversized", "unknown entity")


@pytest.fixture(scope="module")
def tables(root: Path) -> dict[str, list[list[str]]]:
    """The rows below each heading, cell by cell."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in (root / "docs" / "bad-input.md").read_text().splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("| ") and not line.endswith("| Test |"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    """The functions a file defines at its top; by its symbols, for a collection of garbage in `ast.parse` may raise in Python 3.11."""
    symbols = symtable(path.read_text(), str(path), "exec").get_children()
    return frozenset(symbol.get_name() for symbol in symbols if symbol.get_type() == "function")


@pytest.mark.parametrize("heading", ["Events", "Requests"])
def test_every_kind_of_bad_input_has_an_outcome(tables: dict[str, list[list[str]]], heading: str) -> None:
    said = [row[0] for row in tables[heading]]

    assert [kind for kind in KINDS if not any(text.startswith(kind) for text in said)] == []


@pytest.mark.parametrize("heading", ["Events", "Requests"])
def test_every_outcome_has_a_test_that_exists(tables: dict[str, list[list[str]]], root: Path, heading: str) -> None:
    for kind, outcome, named in tables[heading]:
        places = re.findall(r"`(tests/[a-z_/0-9]+\.py)::(test_\w+)`", named)
        assert outcome and places, f"{kind}: no test"
        for path, name in places:
            assert name in names_in(root / path), f"{kind}: {path} has no {name}"
