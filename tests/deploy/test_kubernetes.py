"""deploy/kubernetes as kubectl renders it: valid by Kubernetes' own schemas, and true to itself and to Compose. No cluster is asked."""

import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.make_secrets import Places, drawn

VERSION = "1.37"
Resource = dict[str, Any]


@pytest.fixture(scope="module")
def rendered(root: Path) -> list[Resource]:
    command = [f"{sysconfig.get_path('scripts')}/kubectl", "kustomize", str(root / "deploy" / "kubernetes")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def of_kind(rendered: list[Resource], *kinds: str) -> list[Resource]:
    return [resource for resource in rendered if resource["kind"] in kinds]


def workloads(rendered: list[Resource]) -> Mapping[str, Resource]:
    return {one["metadata"]["name"]: one for one in of_kind(rendered, "Deployment", "StatefulSet")}


def pod(workload: Resource) -> Resource:
    return dict(workload["spec"]["template"]["spec"])


def container(workload: Resource) -> Resource:
    [only] = pod(workload)["containers"]
    return dict(only)


def selected(labels: Mapping[str, str], rendered: list[Resource]) -> list[str]:
    return [
        name
        for name, workload in workloads(rendered).items()
        if labels.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
    ]


def test_every_resource_is_valid_by_the_schemas_of_its_version(rendered: list[Resource]) -> None:
    import kubernetes_validate as validator

    for resource in rendered:
        validator.validate(resource, VERSION, strict=True)

    broken = {**workloads(rendered)["worker"], "spce": {}}
    with pytest.raises(validator.ValidationError):
        validator.validate(broken, VERSION, strict=True)


def test_it_is_the_part_that_grows(rendered: list[Resource]) -> None:
    assert set(workloads(rendered)) == {
        *("worker", "scorer", "pricing"),
        *("dagster-code", "dagster-daemon", "dagster-admin", "dagster-viewer"),
    }


def test_no_pod_is_root_or_writes_its_root_or_has_no_limit(rendered: list[Resource]) -> None:
    for name, workload in workloads(rendered).items():
        said, made = pod(workload)["securityContext"], container(workload)
        assert said["runAsNonRoot"] and said["runAsUser"] == 10001, name
        assert made["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(made["resources"]["limits"]) == set(made["resources"]["requests"]) == {"cpu", "memory"}, name
        assert made["image"].rpartition(":")[2] == "0.1.0"


def test_every_pod_says_whether_it_lives_and_what_serves_whether_it_is_ready(rendered: list[Resource]) -> None:
    for name, workload in workloads(rendered).items():
        probes = {probe for probe in container(workload) if probe.endswith("Probe")}
        assert probes >= {"startupProbe", "livenessProbe"}, name
        assert "readinessProbe" in probes or name == "dagster-daemon"
        for probe in probes:
            port = container(workload)[probe].get("httpGet", {}).get("port")
            assert port is None or port in {one["name"] for one in container(workload)["ports"]}, name


def test_what_a_pod_names_is_there(rendered: list[Resource], root: Path) -> None:
    """Volumes, claims, settings, secrets, accounts; secrets by the names under which they are drawn."""
    claims = {one["metadata"]["name"] for one in of_kind(rendered, "PersistentVolumeClaim")}
    maps = {one["metadata"]["name"] for one in of_kind(rendered, "ConfigMap")}
    accounts = {one["metadata"]["name"] for one in of_kind(rendered, "ServiceAccount")} | {"default"}
    for name, workload in workloads(rendered).items():
        volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
        own = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", ())}
        assert {mount["name"] for mount in container(workload)["volumeMounts"]} == set(volumes) | own, name
        assert {one["configMapRef"]["name"] for one in container(workload)["envFrom"]} <= maps
        assert pod(workload).get("serviceAccountName", "default") in accounts
        for volume in volumes.values():
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "shared") in claims
            assert volume.get("configMap", {}).get("name", "dagster-instance") in maps
            secret = volume.get("secret", {"secretName": "fraud-api-keys"})
            if secret["secretName"] == "fraud-secrets":
                assert {item["key"] for item in secret["items"]} <= set(drawn(Places())), name


def test_services_budgets_and_scalers_have_somebody(rendered: list[Resource]) -> None:
    for one in of_kind(rendered, "Service"):
        assert len(selected(one["spec"]["selector"], rendered)) == 1, one["metadata"]["name"]
    for one in of_kind(rendered, "PodDisruptionBudget"):
        assert selected(one["spec"]["selector"]["matchLabels"], rendered) == [one["metadata"]["name"]]
    scaled = {one["metadata"]["name"]: one["spec"] for one in of_kind(rendered, "HorizontalPodAutoscaler")}
    assert set(scaled) == {"worker", "scorer", "pricing"}
    for name, spec in scaled.items():
        assert spec["scaleTargetRef"]["name"] == name
        assert spec["scaleTargetRef"]["kind"] == workloads(rendered)[name]["kind"]
        assert "replicas" not in workloads(rendered)[name]["spec"], "each apply would undo what the scaler did"


def test_the_worker_is_scaled_by_a_metric_that_it_has_and_the_adapter_brings(
    rendered: list[Resource], root: Path
) -> None:
    from fraud_assets.contracts.topics import TRANSACTIONS
    from streaming.metrics import LAG

    spec = next(
        one["spec"] for one in of_kind(rendered, "HorizontalPodAutoscaler") if one["metadata"]["name"] == "worker"
    )
    [rule] = yaml.safe_load((root / "deploy" / "kubernetes" / "adapter.yaml").read_text())["rules"]["external"]

    assert spec["metrics"][0]["external"]["metric"]["name"] == rule["name"]["as"]
    [series] = LAG.describe()
    assert rule["seriesQuery"].startswith(f"{series.name}{{") and series.name in rule["metricsQuery"]
    assert spec["maxReplicas"] == TRANSACTIONS.partitions


def test_nobody_is_reached_but_by_a_rule(rendered: list[Resource]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(rendered, "NetworkPolicy")}

    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert set(selected({"app.kubernetes.io/part-of": "fraud"}, rendered)) == set(workloads(rendered))
    assert set(selected(policies["dagster-webservers"]["podSelector"]["matchLabels"], rendered)) == {
        "dagster-admin",
        "dagster-viewer",
    }
    assert all(one["from"] for spec in policies.values() for one in spec.get("ingress", ()))


def test_the_viewer_can_start_nothing(rendered: list[Resource]) -> None:
    viewer = workloads(rendered)["dagster-viewer"]

    assert "--read-only" in container(viewer)["command"]
    assert pod(viewer)["automountServiceAccountToken"] is False


def instance(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((root / "deploy" / "kubernetes" / "instance.yaml").read_text())
    return found


def test_the_instance_differs_from_the_containers_in_its_launcher_only(root: Path) -> None:
    cluster = instance(root)
    del cluster["run_launcher"]

    assert cluster == yaml.safe_load((root / "deploy" / "dagster" / "dagster.yaml").read_text())


def test_dagster_accepts_the_launcher_and_a_run_is_held_to_the_same(rendered: list[Resource], root: Path) -> None:
    from dagster._config import process_config
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    given = instance(root)["run_launcher"]["config"]
    launcher: Any = K8sRunLauncher
    checked = process_config(launcher.config_type(), given)
    assert checked.success, checked.errors
    parsed: Any = UserDefinedDagsterK8sConfig
    run = parsed.from_dict(given["run_k8s_config"])  # refuses what Kubernetes' models do not know

    said = run.container_config["security_context"]
    assert said["read_only_root_filesystem"] and run.pod_spec_config["security_context"]["run_as_non_root"]
    assert set(run.container_config["resources"]) == {"requests", "limits"}
    assert given["service_account_name"] in {one["metadata"]["name"] for one in of_kind(rendered, "ServiceAccount")}
    assert {mount["name"] for mount in run.container_config["volume_mounts"]} == {
        volume["name"] for volume in run.pod_spec_config["volumes"]
    }


def test_dagster_may_make_jobs_and_read_no_secret(rendered: list[Resource]) -> None:
    [role] = of_kind(rendered, "Role")

    assert {verb for rule in role["rules"] if "jobs" in rule["resources"] for verb in rule["verbs"]} >= {
        "create",
        "delete",
    }
    assert not {resource for rule in role["rules"] for resource in rule["resources"]} & {"secrets", "*"}


def compared(env: Mapping[str, str]) -> Iterator[str]:
    elsewhere = {"FRAUD_LAKE_URI", "AWS_REGION", "FRAUD_REPLICATION_FACTOR", "FRAUD_SECRETS_DIR"}
    yield from (name for name in env if name not in elsewhere and not name.startswith(("DAGSTER_", "AWS_", "HOME")))


def test_settings_are_composes_but_for_where_things_are(rendered: list[Resource], root: Path) -> None:
    compose = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]["worker"]["environment"]
    [settings] = [one["data"] for one in of_kind(rendered, "ConfigMap") if "ENVIRONMENT" in one["data"]]

    assert {name: settings[name] for name in compared(settings)} == {name: compose[name] for name in compared(settings)}
