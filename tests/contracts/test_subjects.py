"""Contracts in a registry: what is there binds, and what is refused is named before a process does anything."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_assets.contracts import topics
from fraud_assets.contracts.shapes import IncompatibleContract, Schema, differences, recorded
from fraud_assets.contracts.subjects import (
    COMPATIBILITY,
    ConfluentRegistry,
    RegistryUnavailable,
    SubjectRegistry,
    agree,
    agree_or_exit,
    subject_of,
)

TOPIC = topics.DECISIONS
SUBJECT = subject_of(TOPIC)


class MemoryRegistry:
    """A registry as the port has it, with our rule for its own."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[Schema]] = {}
        self.rules: dict[str, str] = {}

    def versions(self, subject: str) -> list[Schema]:
        return list(self.subjects.get(subject, []))

    def demand(self, subject: str, compatibility: str) -> None:
        self.rules[subject] = compatibility

    def register(self, subject: str, shape: Schema) -> None:
        held = self.subjects.setdefault(subject, [])
        if shape not in held:
            if subject in self.rules and any(differences(shape, one) for one in held):
                raise IncompatibleContract(f"refused: {subject}")
            held.append(shape)


@pytest.fixture(scope="session")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real one of this session's own; Java."""
    from deploy.local.schema_registry import SCHEMA_REGISTRY
    from deploy.local.stack import running

    with running([SCHEMA_REGISTRY], tmp_path_factory.mktemp("schema-registry")) as stack:
        yield stack.env["SCHEMA_REGISTRY_URL"]


@pytest.fixture(params=["memory", pytest.param("apicurio", marks=pytest.mark.kafka)])
def registry(request: pytest.FixtureRequest) -> SubjectRegistry:
    """Each claim holds for both; only one of them shows that it holds outside of this repository."""
    if request.param == "memory":
        return MemoryRegistry()
    return Renamed(ConfluentRegistry(request.getfixturevalue("registry_url")))


class Renamed:
    """The same registry with subjects of this test's own."""

    def __init__(self, inner: SubjectRegistry) -> None:
        self._inner, self._prefix = inner, uuid.uuid4().hex

    def versions(self, subject: str) -> list[Schema]:
        return self._inner.versions(self._prefix + subject)

    def demand(self, subject: str, compatibility: str) -> None:
        self._inner.demand(self._prefix + subject, compatibility)

    def register(self, subject: str, shape: Schema) -> None:
        self._inner.register(self._prefix + subject, shape)


def with_field(shape: Schema, name: str, *, required: bool) -> Schema:
    fields = {**shape["properties"], name: {"type": "integer"} | ({} if required else {"default": 0})}
    return {**shape, "properties": fields, "required": [*shape["required"], *([name] if required else [])]}


def test_an_empty_registry_gets_every_recorded_version_in_order(registry: SubjectRegistry) -> None:
    agree(registry, (*topics.RAW_TOPICS, TOPIC))

    for topic in (*topics.RAW_TOPICS, TOPIC):
        assert registry.versions(subject_of(topic)) == recorded(topic.name)
    assert len(recorded(TOPIC.name)) > 1


def test_a_second_process_adds_nothing(registry: SubjectRegistry) -> None:
    agree(registry, [TOPIC])

    agree(registry, [TOPIC])

    assert registry.versions(SUBJECT) == recorded(TOPIC.name)


def test_a_process_refuses_to_start_on_a_version_that_it_would_not_read(registry: SubjectRegistry) -> None:
    """The field and the version are named, and nothing is registered."""
    foreign = with_field(recorded(TOPIC.name)[0], "shoe_size", required=False)
    registry.register(SUBJECT, foreign)

    with pytest.raises(IncompatibleContract, match=r"shoe_size: is gone \(version 1\)") as refused:
        agree(registry, [TOPIC])

    assert SUBJECT in str(refused.value)
    assert registry.versions(SUBJECT) == [foreign]


def test_the_version_before_starts_again_while_a_later_one_is_there(registry: SubjectRegistry) -> None:
    """A rolling release: readers first, and the old ones may restart meanwhile."""
    agree(registry, [TOPIC])
    later = with_field(recorded(TOPIC.name)[-1], "colour", required=False)
    registry.register(SUBJECT, later)

    agree(registry, [TOPIC])

    assert registry.versions(SUBJECT) == [*recorded(TOPIC.name), later]


def test_the_registry_itself_refuses_what_breaks_the_rule(registry: SubjectRegistry) -> None:
    """Whoever registers it: the rule is the subject's, not this process's."""
    agree(registry, [TOPIC])

    with pytest.raises(IncompatibleContract, match=SUBJECT):
        registry.register(SUBJECT, with_field(recorded(TOPIC.name)[-1], "shoe_size", required=True))

    assert registry.versions(SUBJECT) == recorded(TOPIC.name)


def test_a_registry_that_is_gone_is_told_from_a_contract_that_is_refused(free_port: int) -> None:
    with pytest.raises(RegistryUnavailable, match="SCHEMA_REGISTRY_URL"):
        ConfluentRegistry(f"http://127.0.0.1:{free_port}").versions(SUBJECT)


def test_without_a_url_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr("fraud_assets.contracts.subjects.ConfluentRegistry", asked.append)

    agree_or_exit(None, [TOPIC])

    assert asked == []


COMMANDS = [["api", "--port", "1"], *(["streaming", role] for role in ("router", "folder", "labels"))]


def ended(command: list[str], url: str, folder: Path) -> tuple[int, dict[str, Any]]:
    """Its exit code, and its last line."""
    env = {
        **os.environ,
        "SCHEMA_REGISTRY_URL": url,
        "FRAUD_VAR_DIR": str(folder),
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    done = subprocess.run(
        [sys.executable, "-m", *command], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    line = next(line for line in (done.stdout + done.stderr).splitlines() if "contract_refused" in line)
    return done.returncode, json.loads(line)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_process_starts_without_the_registry_it_was_told_of(
    command: list[str], free_port: int, tmp_path: Path
) -> None:
    code, said = ended(command, f"http://127.0.0.1:{free_port}", tmp_path)

    assert (code, said["error"], said["level"]) == (1, "RegistryUnavailable", "error")


@pytest.mark.kafka
@pytest.mark.parametrize("command", [COMMANDS[0], COMMANDS[1]], ids=" ".join)
def test_no_process_starts_with_a_contract_that_breaks(command: list[str], registry_url: str, tmp_path: Path) -> None:
    """The subject that all of them share, in a registry that holds something else; named in the log's last line."""
    real = ConfluentRegistry(registry_url)
    subject = subject_of(topics.LABELS)
    if not real.versions(subject):
        real.register(subject, with_field(recorded(topics.LABELS.name)[0], "shoe_size", required=False))

    code, said = ended(command, registry_url, tmp_path)

    assert (code, said["error"]) == (1, "IncompatibleContract")
    assert "labels.v1-value" in said["detail"] and "shoe_size" in said["detail"]


@pytest.mark.kafka
def test_the_rule_stands_in_the_registry(registry_url: str) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    agree(ConfluentRegistry(registry_url), [TOPIC])

    client = SchemaRegistryClient({"url": registry_url})
    assert client.get_compatibility(SUBJECT) == COMPATIBILITY
    assert msgspec.json.decode(client.get_latest_version(SUBJECT).schema.schema_str) == recorded(TOPIC.name)[-1]
