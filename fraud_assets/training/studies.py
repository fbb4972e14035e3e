"""Studies that outlive their process: Optuna's journal in a file, one for each training until its model is written.

A run that is killed leaves its journal; the next run of the same training reads it and goes on. What was finished counts as it
was, what was being tried is tried again from its beginning, and the study ends as it would have without the kill.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import optuna
from optuna.storages.journal import JournalFileBackend


@dataclass(frozen=True)
class Journal:
    """Where a study is kept, and its name there."""

    name: str
    storage: optuna.storages.BaseStorage


@contextlib.contextmanager
def kept(folder: Path, name: str) -> Iterator[Journal | None]:
    """The journal `<folder>/<name>.journal`, continued if it is there; deleted when the block ends well.

    None while another process has it: two that write one study would take each other's trials for abandoned ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.journal"
    with path.open("r+b" if path.exists() else "w+b") as ours:
        if not _alone(ours, path):
            yield None
            return
        _mend(ours, path)
        yield Journal(name, optuna.storages.JournalStorage(JournalFileBackend(str(path))))
        path.unlink()


def _alone(file: BinaryIO, path: Path) -> bool:
    """Whether nobody else has the file, and it is still the one of that name. Closing it lets go."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _mend(file: BinaryIO, path: Path) -> None:
    """What a kill in the middle of a write leaves: half a line, and Optuna's own lock, for which it would wait 30 s."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)
