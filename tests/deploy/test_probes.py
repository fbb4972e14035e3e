"""Readiness asks what users will ask, and says what is missing."""

import json
from contextlib import AbstractContextManager

import pytest

from deploy.local import probes
from deploy.local.ports import LOOPBACK
from deploy.local.posts import posted


def webserver_that_says(data: object) -> AbstractContextManager[str]:
    """Dagster's webserver as far as a probe sees it: every GraphQL query is answered with `data`."""
    return posted(lambda *_: json.dumps({"data": data}).encode())


def workspace(kind: str | None) -> dict[str, object]:
    loaded = None if kind is None else {"__typename": kind}
    return {"workspaceOrError": {"locationEntries": [{"name": "fraud_assets", "locationOrLoadError": loaded}]}}


def daemons(**beats: float | None) -> dict[str, object]:
    statuses = [
        {"daemonType": name, "required": name != "SPARE", "lastHeartbeatTime": at} for name, at in beats.items()
    ]
    return {"instance": {"daemonHealth": {"allDaemonStatuses": statuses}}}


def missing(probe: probes.Probe) -> str:
    """What the service still lacks; nothing when it is ready."""
    try:
        probe()
    except probes.NotReady as reason:
        return str(reason)
    return ""


def test_dagster_is_ready_once_its_code_is_loaded() -> None:
    with webserver_that_says(workspace("RepositoryLocation")) as url:
        assert missing(probes.dagster_has_loaded(url)) == ""


@pytest.mark.parametrize("kind", [None, "PythonError"])
def test_a_webserver_without_its_code_is_not_ready(kind: str | None) -> None:
    with webserver_that_says(workspace(kind)) as url:
        assert missing(probes.dagster_has_loaded(url)) == f"{url} has not loaded fraud_assets yet"


def test_a_workspace_that_cannot_be_read_is_not_ready() -> None:
    with webserver_that_says({"workspaceOrError": {}}) as url:
        assert missing(probes.dagster_has_loaded(url)) == f"{url} has not loaded any code yet"


def test_the_daemon_is_ready_once_each_required_loop_has_beaten_since_its_start() -> None:
    with webserver_that_says(daemons(SENSOR=100.5, ASSET=101.0, SPARE=None)) as url:
        assert missing(probes.dagster_daemon_beats(url, since_s=100.0)) == ""
        assert missing(probes.dagster_daemon_beats(url, since_s=100.7)) == "no heartbeat yet of SENSOR"


def test_a_loop_that_never_beat_is_named() -> None:
    with webserver_that_says(daemons(SENSOR=None)) as url:
        assert missing(probes.dagster_daemon_beats(url, since_s=0.0)) == "no heartbeat yet of SENSOR"


def test_nobody_at_the_port_is_not_ready(free_port: int) -> None:
    assert str(free_port) in missing(probes.dagster_has_loaded(f"http://{LOOPBACK}:{free_port}"))
    assert str(free_port) in missing(probes.port_is_open(LOOPBACK, free_port))
