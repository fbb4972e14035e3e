"""The installation's output: what it does, how far it is and what went wrong, and no list of packages."""

import os
import pty
import shlex
import subprocess
from pathlib import Path

import pytest

# What uv 0.13 writes where there is no terminal, with 12 large packages.
SAID = [
    "Using Python 3.11.7 environment at: .venv",
    "Resolved 210 packages in 1.63s",
    *(f"Downloading part-{number} (52.5MiB)" for number in range(12)),
    *(f" Downloaded part-{number}" for number in range(12)),
    "Prepared 210 packages in 8.65s",
    "Installed 210 packages in 157ms",
    *(f" + part-{number}==1.0" for number in range(12)),
    " ~ numpy==2.4.6",
    " - pandas==3.0",
]
FAULT = ["error: Hash mismatch for `numpy==2.4.6`", "  cause: Expected: sha256:00", "         Computed: sha256:11"]


def brief(root: Path, lines: list[str], code: int) -> list[str]:
    """The command that runs an installer which says so and ends so."""
    said = "; ".join(f"echo {shlex.quote(line)} >&2" for line in lines)
    return ["sh", str(root / "deploy" / "brief.sh"), "sh", "-c", f"{said}; exit {code}"]


def test_phases_and_progress_are_shown_and_no_package_by_itself(root: Path) -> None:
    done = subprocess.run(brief(root, SAID, 0), capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "Resolved 210 packages in 1.63s",
        "10 large packages downloaded",
        "Prepared 210 packages in 8.65s",
        "Installed 210 packages in 157ms",
    ]


@pytest.mark.parametrize("code", [1, 2])
def test_an_error_is_shown_whole_with_its_exit_code(root: Path, code: int) -> None:
    done = subprocess.run(brief(root, [*SAID[:5], *FAULT], code), capture_output=True, text=True, check=False)

    assert done.returncode == code
    assert done.stdout.splitlines()[-3:] == FAULT


def test_an_installer_that_cannot_be_started_is_an_error(root: Path) -> None:
    command = ["sh", str(root / "deploy" / "brief.sh"), "/no/such/uv"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 127
    assert "/no/such/uv" in done.stdout


def test_on_a_terminal_downloads_share_one_line(root: Path) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(brief(root, SAID, 0), stdout=theirs, check=True)
    os.close(theirs)

    shown = os.read(ours, 65_536).decode()
    os.close(ours)

    assert shown.count("\n") == 3  # resolved, prepared, installed
    assert "\r\x1b[K Downloaded part-11\r\x1b[KPrepared 210 packages" in shown
    assert "part-11==" not in shown
