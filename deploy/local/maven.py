"""Servers written in Java, from Maven Central: what one POM names, fetched once into var/java."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from deploy.local.services import ROOT

_DOWNLOAD_WITHIN_S = 600


class JavaUnavailable(RuntimeError):
    """Java, Maven or what it should fetch is missing; the message says which and what to do."""


def fetched(pom: Path, goal: str) -> Path:
    """The folder that a goal of the dependency plugin has filled. Raises JavaUnavailable."""
    version = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    folder = ROOT / "var" / "java" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test workers must not download into one folder
        if not folder.exists():
            _fetch(pom, goal, folder)
    return folder


def _fetch(pom: Path, goal: str, folder: Path) -> None:
    maven = program("mvn", "maven")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    # Its markers beside what it unpacked: else it remembers that in `target`, and a deleted var/ is never filled again.
    where = [f"-DoutputDirectory={partial}", f"-DmarkersDirectory={partial}/markers"]
    command = [maven, "-q", "-B", "-f", str(pom), goal, *where]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_DOWNLOAD_WITHIN_S, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise JavaUnavailable(
            f"Maven could not fetch {pom.stem} ({' '.join(command)}):\n{(done.stdout + done.stderr)[-2000:]}"
        )
    partial.rename(folder)


def program(name: str, package: str) -> str:
    """Its path. Raises JavaUnavailable."""
    found = shutil.which(name)
    if found is None:
        raise JavaUnavailable(
            f"{name} is not on this machine: install {package} (`make java`), or set KAFKA_BOOTSTRAP_SERVERS"
        )
    return found
