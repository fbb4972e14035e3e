"""The file that remembers what `up` started, so that `down` stops that and nothing else."""

from pathlib import Path

import msgspec
import psutil


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
    path = state_path(var_dir)
    return msgspec.json.decode(path.read_bytes(), type=StackState) if path.exists() else None


def write_state(var_dir: Path, state: StackState) -> None:
    path = state_path(var_dir)
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2))
    partial.rename(path)
