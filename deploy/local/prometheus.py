"""Prometheus, Alertmanager and exporters on loopback, with the configuration that is shipped: only addresses and secrets are others."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.local import probes
from deploy.local.ports import LOOPBACK
from deploy.local.scorer_key import ensure_key, key_path
from deploy.local.services import ROOT, Context, Service

CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
ALERTS_CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RECEIVER_URL, WORKER_PORT = "FRAUD_ALERT_RECEIVER_URL", "FRAUD_WORKER_METRICS_PORT"
# Router, folder, label stage and explainer.
WORKER_PORTS = 4


def prometheus_config(targets: Mapping[str, Sequence[int]], alertmanager: int, key_file: Path) -> dict[str, Any]:
    """The shipped configuration with each job's targets on loopback. targets: ports by job; a job without any is left out."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config["rule_files"] = [str(CONFIG.parent / pattern) for pattern in config["rule_files"]]
    config["alerting"]["alertmanagers"] = [_static([alertmanager])]
    config["scrape_configs"] = [
        _pointed(job, targets[job["job_name"]], key_file)
        for job in config["scrape_configs"]
        if job["job_name"] in targets
    ]
    return config


def _pointed(job: Mapping[str, Any], ports: Sequence[int], key_file: Path) -> dict[str, Any]:
    kept = {name: value for name, value in job.items() if not name.endswith("_sd_configs")}
    if "authorization" in kept:
        kept["authorization"] = {"credentials_file": str(key_file)}
    return kept | _static(ports)


def _static(ports: Sequence[int]) -> dict[str, Any]:
    return {"static_configs": [{"targets": [f"{LOOPBACK}:{port}" for port in ports]}]}


def alertmanager_config(receiver_url: str) -> dict[str, Any]:
    """The shipped routes, groups and inhibitions; whoever would be told by a webhook is told at this address, and by nothing else."""
    config: dict[str, Any] = yaml.safe_load(ALERTS_CONFIG.read_text())
    config["global"] = {"resolve_timeout": config["global"]["resolve_timeout"]}
    config["receivers"] = [
        {
            "name": one["name"],
            "webhook_configs": [{"url": f"{receiver_url}/{one['name']}"}] if "webhook_configs" in one else [],
        }
        for one in config["receivers"]
    ]
    return config


def _written(path: Path, config: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(config)))


def _prepare_prometheus(context: Context) -> None:
    ensure_key(context.var_dir)
    first = int(context.env[WORKER_PORT])
    jobs = {"scorer": "scorer", "dagster": "dagster-exporter", "host": "node-exporter", "prometheus": "prometheus", "alertmanager": "alertmanager"}  # fmt: skip
    targets = {job: [context.port(service)] for job, service in jobs.items()} | {
        "worker": [*range(first, first + WORKER_PORTS)]
    }
    found = prometheus_config(targets, context.port("alertmanager"), key_path(context.var_dir))
    _written(context.dir("prometheus") / "prometheus.yml", found)


def _prepare_alertmanager(context: Context) -> None:
    _written(context.dir("alertmanager") / "alertmanager.yml", alertmanager_config(context.env[RECEIVER_URL]))


def prometheus_argv(folder: Path, port: int) -> list[str]:
    """folder: holds prometheus.yml, and then the samples."""
    return [
        *("prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address={LOOPBACK}:{port}", "--log.level=warn"),
    ]


def alertmanager_argv(folder: Path, port: int) -> list[str]:
    return [
        *(
            "prometheus-alertmanager",
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
        ),
        *(f"--web.listen-address={LOOPBACK}:{port}", "--cluster.listen-address=", "--log.level=warn"),
    ]


def _answers(name: str, path: str) -> Any:
    return lambda context: probes.http_answers(f"http://{LOOPBACK}:{context.port(name)}{path}")


EXPORTER = Service(
    name="dagster-exporter",
    argv=lambda c: [sys.executable, "-m", "fraud_assets.exporter", "--port", str(c.port("dagster-exporter"))],
    probe=_answers("dagster-exporter", "/metrics"),
    ready_within_s=240.0,  # it imports every asset
)

NODE_EXPORTER = Service(
    name="node-exporter",
    argv=lambda c: [
        "prometheus-node-exporter",
        f"--web.listen-address={LOOPBACK}:{c.port('node-exporter')}",
        "--log.level=warn",
    ],
    probe=_answers("node-exporter", "/metrics"),
)

ALERTMANAGER = Service(
    name="alertmanager",
    prepare=_prepare_alertmanager,
    argv=lambda c: alertmanager_argv(c.dir("alertmanager"), c.port("alertmanager")),
    provides=lambda c: {"ALERTMANAGER_URL": f"http://{LOOPBACK}:{c.port('alertmanager')}"},
    probe=_answers("alertmanager", "/-/ready"),
)

PROMETHEUS = Service(
    name="prometheus",
    needs=("alertmanager",),
    prepare=_prepare_prometheus,
    argv=lambda c: prometheus_argv(c.dir("prometheus"), c.port("prometheus")),
    provides=lambda c: {"PROMETHEUS_URL": f"http://{LOOPBACK}:{c.port('prometheus')}"},
    probe=_answers("prometheus", "/-/ready"),
)
