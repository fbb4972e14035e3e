"""What docker-compose.yml says of a service, as a process of this machine.

Each service has a loopback address of its own (Linux answers at all of 127.0.0.0/8), so ports stay as they are and only names become
addresses. Mounted folders are folders below one root; a service finds the secrets that Compose gives it, and no other.
"""

import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.local.services import ROOT

ADDRESS_OF_OWN = re.compile(r"\b(0\.0\.0\.0|127\.0\.0\.1|localhost)\b")
IMAGE_HOME = "/app"  # the Dockerfile's WORKDIR
# A folder whose files name services: a copy, translated, stands in for it.
TRANSLATED_FOLDER = "deploy/dagster"


@dataclass(frozen=True)
class Process:
    """argv and env: all of it; nothing comes from whoever starts it. check: the health check's command, empty for who runs once."""

    name: str
    argv: list[str]
    env: dict[str, str]
    check: list[str]
    needs: list[str]
    is_once: bool
    within_s: float


class Compose:
    """The file, and where its parts are here."""

    def __init__(self, root: Path, network: str) -> None:
        """network: the first three numbers of the services' addresses."""
        self.services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self.root = root
        self.address = {name: f"{network}.{number}" for number, name in enumerate(self.services, 1)}
        self._host = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, self.services))})(?=:\d)")
        self._translate_folder()

    def secrets_of(self, name: str) -> Path:
        return self.root / "secrets" / name

    def give_secrets(self, found: Mapping[str, str]) -> None:
        """To each service its own."""
        for name, service in self.services.items():
            self.secrets_of(name).mkdir(parents=True)
            for secret in service.get("secrets", ()):
                (self.secrets_of(name) / secret).write_text(f"{found[secret]}\n")

    def volume(self, source: str) -> Path:
        folder = self.root / "volumes" / source
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def env_of(self, name: str) -> dict[str, str]:
        given = {key: self._here(name, value) for key, value in self.services[name].get("environment", {}).items()}
        # Of the image: where programs are, and that lines are not held back.
        return {
            "PATH": f"{sysconfig.get_path('scripts')}:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
            **given,
        }

    def command(self, name: str, words: list[str]) -> list[str]:
        program, *arguments = [self._here(name, word) for word in words]
        if program in ("CMD", "CMD-SHELL"):
            program, *arguments = arguments
        return [sys.executable if program == "python" else program, *arguments]

    def process(self, name: str) -> Process:
        """Of a service that runs an image of ours."""
        service = self.services[name]
        check = service["healthcheck"]
        words = [*service.get("entrypoint", ()), *service["command"]]
        return Process(
            name=name,
            argv=self.command(name, words),
            env=self.env_of(name),
            check=self.command(name, check["test"]) if "test" in check else [],
            needs=list(service.get("depends_on", ())),
            is_once=service["restart"] == "no",
            within_s=600.0,  # cold, on a busy machine: kernels are compiled, and Dagster and MLflow make their tables
        )

    def _here(self, name: str, text: str) -> str:
        """A text of a service's settings, as it reads on this machine."""
        # First, for where things are may itself be below /tmp.
        said = re.sub(r"^/tmp(?=/|$)", str(self.volume(f"{name}-tmp")), text)
        said = self._host.sub(lambda found: self.address[found[1]], said)
        said = ADDRESS_OF_OWN.sub(self.address[name], said)
        said = re.sub(r"(?<=\w://)(?=:\d)", self.address[name], said)  # all addresses of a machine
        said = said.replace("/run/secrets", str(self.secrets_of(name)))
        said = re.sub(rf"({IMAGE_HOME}/)?{TRANSLATED_FOLDER}(?=/|$)", str(self._translated), said)
        for volume in self.services[name].get("volumes", ()):
            source, target = volume.split(":")[:2]
            if not source.startswith(".") and not target.startswith(IMAGE_HOME):
                said = re.sub(rf"^{re.escape(target)}(?=/|$)", str(self.volume(source)), said)
        # The image's own, of who mounts nothing there.
        return re.sub(r"^/data(?=/|$)", str(self.volume(f"{name}-data")), said)

    @property
    def _translated(self) -> Path:
        return self.root / "app" / TRANSLATED_FOLDER

    def _translate_folder(self) -> None:
        self._translated.mkdir(parents=True)
        for file in (ROOT / TRANSLATED_FOLDER).glob("*.yaml"):
            said = re.sub(r"(?<=: )/data(?=/)", str(self.volume("data")), file.read_text())
            said = re.sub(r"(?<=host: )[\w-]+", lambda found: self.address[found[0]], said)
            (self._translated / file.name).write_text(said)


def as_properties(env: Mapping[str, str]) -> str:
    """As Kafka's image makes its settings of variables: KAFKA_LOG_DIRS is log.dirs."""
    of_the_image = {"KAFKA_HEAP_OPTS"}
    given = {
        key.removeprefix("KAFKA_")
        .lower()
        .replace("___", "-")
        .replace("__", "\0")
        .replace("_", ".")
        .replace("\0", "_"): value
        for key, value in env.items()
        if key.startswith("KAFKA_") and key not in of_the_image
    }
    return "".join(f"{key}={value}\n" for key, value in given.items())
