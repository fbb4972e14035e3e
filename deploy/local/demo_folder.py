"""The folder of a demo: wiped at each start, if it is a demo's and no demo is at work in it."""

import os
import shutil
from pathlib import Path

import msgspec
import psutil

MARKER = "demo.json"


class NotOurs(RuntimeError):
    """The folder is somebody else's, or in use; nothing in it was touched."""


class Owner(msgspec.Struct, frozen=True):
    """The demo that works here. A pid alone may by now be another process's; with its creation time it is not."""

    pid: int
    create_time_s: float

    @property
    def is_alive(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.create_time_s) < 0.01
        except psutil.NoSuchProcess:
            return False


def claim(folder: Path) -> Path:
    """An empty folder that names this process as its owner. Raises NotOurs."""
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        _check_ours(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    here = Owner(os.getpid(), psutil.Process().create_time())
    (folder / MARKER).write_bytes(msgspec.json.encode(here))
    return folder


def _check_ours(folder: Path) -> None:
    """A demo's folder holds its marker; anything else may be data that somebody wants to keep."""
    marker = folder / MARKER
    if not marker.exists():
        raise NotOurs(f"{folder} is not empty and no demo made it, so it is left alone. Choose another with --var.")
    owner = msgspec.json.decode(marker.read_bytes(), type=Owner)
    if owner.is_alive and owner.pid != os.getpid():
        raise NotOurs(f"a demo (pid {owner.pid}) is at work in {folder}. Wait for it, or choose another with --var.")
