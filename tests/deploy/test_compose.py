"""docker-compose.yml and the Dockerfile, held to their specifications and to rules of our own, without a container engine."""

import copy
import hashlib
import importlib.resources
import json
import re
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.make_secrets import Places, drawn, write
from fraud_assets.settings import MIN_KEY_LENGTH, weakness

Compose = dict[str, Any]
KAFKA_POM = Path("deploy/local/java/pom.xml")
# Made by whoever deploys, and so no file of the repository.
MADE = "./deploy/secrets/"


@pytest.fixture(scope="module")
def compose(root: Path) -> Compose:
    found: Compose = yaml.safe_load((root / "docker-compose.yml").read_text())
    return found


def services(compose: Compose) -> list[tuple[str, dict[str, Any]]]:
    return list(compose["services"].items())


# ---------------------------------------------------------------------------------------- our rules


def unpinned(compose: Compose) -> Iterator[str]:
    for name, service in services(compose):
        image, _, tag = service["image"].rpartition(":")
        if not image or not re.search(r"\d+\.\d+|^RELEASE\.\d{4}", tag):
            yield f"{name}: {service['image']}"


def unwatched(compose: Compose) -> Iterator[str]:
    """What runs on says how it is; what runs once says so by its end."""
    for name, service in services(compose):
        is_once = service["restart"] == "no"
        if ("test" in service["healthcheck"]) == is_once:
            yield name


def unlimited(compose: Compose) -> Iterator[str]:
    for name, service in services(compose):
        limits = service["deploy"]["resources"]["limits"]
        if not {"cpus", "memory", "pids"} <= set(limits):
            yield name


def rooted(compose: Compose) -> Iterator[str]:
    for name, service in services(compose):
        user, _, _ = service.get("user", "").partition(":")
        if not user.isdigit() or user == "0":
            yield name


def privileged(compose: Compose) -> Iterator[str]:
    for name, service in services(compose):
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", ()):
            yield name
        if not service["read_only"] and name != "kafka":
            yield f"{name}: writable"


def plain_secrets(compose: Compose) -> Iterator[str]:
    """A word for a secret in a variable's name, whose value is no file's; and a password in an address, wherever it is."""
    for name, service in services(compose):
        for key, value in service.get("environment", {}).items():
            is_secret = re.search(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|_KEY$", key) and not key.endswith("_KEY_ID")
            if is_secret and not str(value).startswith("/run/secrets"):
                yield f"{name}: {key}"
        said = json.dumps([service.get("environment"), service.get("command"), service.get("healthcheck")])
        if re.search(r"://[^/\s\"]*:[^/\s\"@]+@", said):
            yield f"{name}: a password in an address"


def secrets_out_of_place(compose: Compose) -> Iterator[str]:
    """A file below /run/secrets that a service names and is not given, or is given and does not name."""
    read_by_name = {"fraud_token_key", "redis_url", "postgres_dagster_password", "postgres_mlflow_password"}
    read_by_name |= {"postgres_decisions_password", "metrics_key"}  # the last by prometheus.yml
    for name, service in services(compose):
        said = json.dumps([service.get("environment"), service.get("command"), service.get("healthcheck")])
        named = set(re.findall(r"/run/secrets/([\w.]+)", said))
        given = set(service.get("secrets", ()))
        optional = {"aws_credentials"}  # of the shared environment: not everyone reads the lake
        if faults := (named - given - optional) | (given - named - read_by_name):
            yield f"{name}: {sorted(faults)}"
        if strangers := given - set(compose["secrets"]):
            yield f"{name}: {sorted(strangers)}"


def holders_of_the_bucket(compose: Compose) -> set[str]:
    """Services that may read and write the whole lake."""
    return {name for name, service in services(compose) if "aws_credentials" in service.get("secrets", ())}


def open_to_the_world(compose: Compose) -> Iterator[str]:
    for name, service in services(compose):
        yield from (f"{name}: {port}" for port in service.get("ports", ()) if not port.startswith("127.0.0.1:"))


def waits_in_vain(compose: Compose) -> Iterator[str]:
    for name, service in services(compose):
        for needed, how in service.get("depends_on", {}).items():
            other = compose["services"].get(needed)
            is_once = other is not None and other["restart"] == "no"
            expected = "service_completed_successfully" if is_once else "service_healthy"
            if other is None or how != {"condition": expected}:
                yield f"{name}: {needed}"


def unknown_hosts(compose: Compose) -> Iterator[str]:
    """A host and port in a variable or an argument is a service's of this file, and one that they share a network with."""
    for name, service in services(compose):
        said = json.dumps([service.get("environment"), service.get("command")])
        for host in re.findall(r"(?:://|\"|@|,)([a-z][a-z-]+):\d{2,5}\b", said):
            other = compose["services"].get(host)
            if host != "localhost" and (other is None or not set(other["networks"]) & set(service["networks"])):
                yield f"{name}: {host}"


RULES: dict[str, tuple[Callable[[Compose], Iterator[str]], dict[str, Any]]] = {
    # Each beside a change of one service that it has to find.
    "images are pinned": (unpinned, {"image": "redis:latest"}),
    "whoever runs on says how it is": (unwatched, {"healthcheck": {"disable": True}}),
    "limits": (unlimited, {"deploy": {"resources": {"limits": {"memory": "1G"}}}}),
    "nobody is root": (rooted, {"user": "0:0"}),
    "nobody may more than they need": (privileged, {"read_only": False}),
    "no secret in a variable or an argument": (plain_secrets, {"environment": {"POSTGRES_PASSWORD": "hush"}}),
    "no password in an address": (plain_secrets, {"environment": {"REDIS_URL": "redis://:hush@valkey:6379"}}),
    "secrets are given to who names them": (secrets_out_of_place, {"secrets": ["grafana_admin_password"]}),
    "ports are on loopback": (open_to_the_world, {"ports": ["8000:8000"]}),
    "who is waited for can say when": (waits_in_vain, {"depends_on": {"bucket": {"condition": "service_healthy"}}}),
    "hosts are services": (unknown_hosts, {"environment": {"KAFKA_BOOTSTRAP_SERVERS": "broker:9092"}}),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_service_keeps_each_rule_and_each_rule_finds_who_does_not(compose: Compose, rule: str) -> None:
    faults, change = RULES[rule]
    broken = copy.deepcopy(compose)
    broken["services"]["worker"] |= change

    assert list(faults(compose)) == []
    assert [fault for fault in faults(broken) if fault.startswith("worker")]


# ---------------------------------------------------------------------------------- others' rules


def test_compose_is_valid_by_its_specification(compose: Compose) -> None:
    """By the schema that `check-jsonschema` carries; the digest beside it says which."""
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    raw = (folder / "compose-spec.json").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == (folder / "sha256" / "compose-spec.sha256").read_text().strip()
    validator = jsonschema.validators.validator_for(json.loads(raw))(json.loads(raw))

    assert list(validator.iter_errors(compose)) == []
    assert list(validator.iter_errors({**compose, "servces": {}})) != []


def test_the_dockerfile_passes_hadolint(root: Path, tmp_path: Path) -> None:
    def said(file: Path) -> str:
        command = [f"{sysconfig.get_path('scripts')}/hadolint", "--no-color", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /tmp && wget http://example.org\n")

    assert said(root / "deploy" / "Dockerfile") == ""
    assert "DL3006" in said(bad)


# -------------------------------------------------------------------------------------- what exists


def test_compose_starts_the_whole_platform(compose: Compose) -> None:
    assert set(compose["services"]) == {
        *("kafka", "valkey", "postgres", "minio-volume", "minio", "bucket", "topics", "mlflow"),
        *("dagster-code", "dagster-admin", "dagster-viewer", "dagster-daemon", "dagster-exporter"),
        *("worker", "keys", "scorer", "pricing", "prometheus", "node-exporter", "alertmanager", "grafana", "simulator"),
    }
    assert compose["services"]["simulator"]["profiles"] == ["simulator"]
    assert "--read-only" in compose["services"]["dagster-viewer"]["command"]


def test_compose_names_only_files_volumes_and_targets_that_exist(compose: Compose, root: Path) -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (root / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    machine = ("/proc", "/sys")
    for name, service in services(compose):
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or source in machine or (root / source).exists(), source
        if "build" in service:
            assert service["build"]["target"] in stages, name


def test_the_image_copies_only_what_exists(root: Path) -> None:
    for line in (root / "deploy" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _ = line.split()[1:]
            assert all((root / source).exists() for source in sources), line


def test_prometheus_looks_where_services_are(compose: Compose, root: Path) -> None:
    """By name, and at a port that the service's own command or variables say."""
    for job in yaml.safe_load((root / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]:
        for named in job.get("dns_sd_configs", ()):
            [name] = named["names"]
            if name == "dcgm-exporter":
                continue  # of machines with a GPU; elsewhere the name leads nowhere
            service = compose["services"][name]
            first = int(service.get("environment", {}).get("FRAUD_WORKER_METRICS_PORT", 0))
            said = json.dumps([service.get("command"), service["healthcheck"]])
            assert str(named["port"]) in said or first <= named["port"] <= first + 5, (name, named["port"])
            assert "back" in service["networks"]


def test_who_answers_callers_has_no_way_into_the_lake(compose: Compose) -> None:
    holders = holders_of_the_bucket(compose)

    assert {"worker", "dagster-code"} <= holders
    assert not holders & {"scorer", "pricing", "simulator", "prometheus", "grafana"}


def test_no_image_holds_secrets(root: Path) -> None:
    assert "deploy/secrets" in (root / ".dockerignore").read_text().splitlines()
    assert "/deploy/secrets/" in (root / ".gitignore").read_text().splitlines()


def test_the_broker_is_the_one_that_tests_run_on(compose: Compose, root: Path) -> None:
    tested = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>([\d.]+)<", (root / KAFKA_POM).read_text())

    assert tested is not None
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{tested[1]}"


# ------------------------------------------------------------------------------------------ secrets


def test_each_secret_is_made_and_each_that_is_made_is_a_secret_of_compose(compose: Compose) -> None:
    files = {name: entry["file"] for name, entry in compose["secrets"].items()}

    assert files == {name: f"{MADE}{name}" for name in drawn(Places())}


def test_secrets_are_drawn_anew_strong_and_fit_each_other() -> None:
    first, second = drawn(Places()), drawn(Places())

    assert {name for name in first if first[name] == second[name]} == set()
    passwords = {name: value for name, value in first.items() if name.endswith("_password")}
    assert all(weakness(value) == "" for value in passwords.values())
    assert weakness(first["fraud_token_key"], MIN_KEY_LENGTH) == ""
    assert f"password={first['postgres_dagster_password']}" in first["pg_dagster.conf"].splitlines()
    assert first["valkey.conf"].removeprefix("requirepass ") in first["redis_url"]
    assert first["minio_root_password"] in first["aws_credentials"]


def test_secrets_lie_where_only_their_owner_comes(tmp_path: Path) -> None:
    write(tmp_path / "secrets", {"one": "hush"})

    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "secrets" / "one").read_text() == "hush\n"
