"""The file that remembers what `up` started, so that `down` stops that and nothing else."""

from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

Record = TypeVar("Record", bound=msgspec.Struct)


class StackState(msgspec.Struct, frozen=True, kw_only=True):
    """A stack left running. A pid alone may by now be somebody else's; with its creation time it is not."""

    pid: int
    create_time_s: float
    control_socket: str
    services: list[str]
    ports: dict[str, int]
    env: dict[str, str]

    def supervisor(self) -> psutil.Process | None:
        """The process that `up` started, None if it is gone."""
        try:
            process = psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            return None
        is_same = abs(process.create_time() - self.create_time_s) < 0.01
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None


def state_path(var_dir: Path) -> Path:
    return var_dir / "run" / "stack.json"


def read_state(var_dir: Path) -> StackState | None:
    """What was started last, or None. A file that cannot be read raises: it may hide a running stack."""
    return read_record(state_path(var_dir), StackState)


def write_state(var_dir: Path, state: StackState) -> None:
    write_record(state_path(var_dir), state)


def read_record(path: Path, of: type[Record]) -> Record | None:
    """What was written last, or None. Raises msgspec's error for a file that is something else."""
    return msgspec.json.decode(path.read_bytes(), type=of) if path.exists() else None


def write_record(path: Path, record: msgspec.Struct) -> None:
    """The whole file at once, so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
    partial.rename(path)
