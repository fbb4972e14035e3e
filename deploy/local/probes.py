"""Readiness: is a service answering the question its users will ask? And if not, why not yet."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import confluent_kafka
import redis
from confluent_kafka.admin import AdminClient

Probe = Callable[[], None]
"""Returns when ready; raises NotReady with the reason otherwise. Must itself return within seconds."""

_POLL_INTERVAL_S = 0.05
_ANSWER_WITHIN_S = 2.0
_LOADED = "RepositoryLocation"  # in GraphQL; its other type is an error


class NotReady(Exception):
    """The service does not answer yet; the message says what was tried and what came back."""


def redis_answers(url: str) -> Probe:
    """PING. Also refuses a server that evicts: it would forget entities without a word."""

    def probe() -> None:
        client = redis.Redis.from_url(url, socket_timeout=_ANSWER_WITHIN_S, socket_connect_timeout=_ANSWER_WITHIN_S)
        try:
            client.ping()
            policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
        except (redis.RedisError, OSError) as error:
            raise NotReady(f"PING {url}: {error}") from error
        finally:
            client.close()
        if policy != "noeviction":
            raise NotReady(f"{url} evicts ({policy}); the online store needs maxmemory-policy noeviction")

    return probe


def kafka_answers(bootstrap_servers: str) -> Probe:
    """Cluster metadata arrives."""

    def probe() -> None:
        admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        try:
            admin.list_topics(timeout=_ANSWER_WITHIN_S)
        except confluent_kafka.KafkaException as error:
            raise NotReady(f"metadata of {bootstrap_servers}: {error}") from error

    return probe


def s3_has_bucket(env: Mapping[str, str], bucket: str) -> Probe:
    """A signed question finds the bucket, which the server makes once it has started."""
    import pyarrow.fs as pafs  # here: one test in a hundred wants it

    scheme, _, address = env["AWS_ENDPOINT_URL"].partition("://")

    def probe() -> None:
        client = pafs.S3FileSystem(
            access_key=env["AWS_ACCESS_KEY_ID"], secret_key=env["AWS_SECRET_ACCESS_KEY"], region=env["AWS_REGION"],
            scheme=scheme, endpoint_override=address, connect_timeout=_ANSWER_WITHIN_S, request_timeout=_ANSWER_WITHIN_S,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),
        )  # fmt: skip
        try:
            found = client.get_file_info(bucket)
        except OSError as error:
            raise NotReady(f"{bucket} at {address}: {error}") from error
        if found.type is pafs.FileType.NotFound:
            raise NotReady(f"{address} has no bucket {bucket} yet")

    return probe


def groups_are_consuming(bootstrap_servers: str, *groups: str) -> Probe:
    """Each consumer group has members and its partitions are assigned."""

    def probe() -> None:
        admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        try:
            # Not described: librdkafka aborts the process where the coordinator's connection drops meanwhile (librdkafka issue 4605).
            listed = admin.list_consumer_groups(request_timeout=_ANSWER_WITHIN_S).result()
        except confluent_kafka.KafkaException as error:
            raise NotReady(f"consumer groups {', '.join(groups)}: {error}") from error
        states = {one.group_id: one.state.name for one in listed.valid}
        for group in groups:
            if (state := states.get(group, "not there")) != "STABLE":
                raise NotReady(f"consumer group {group} is {state}")

    return probe


def http_answers(url: str) -> Probe:
    """GET gives 200."""

    def probe() -> None:
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_WITHIN_S) as response:
                if response.status != 200:
                    raise NotReady(f"GET {url}: {response.status}")
        except (urllib.error.URLError, OSError) as error:
            raise NotReady(f"GET {url}: {error}") from error

    return probe


def dagster_has_loaded(url: str) -> Probe:
    """The webserver shows the asset graph; it answers long before the code server can tell it any."""
    query = "{workspaceOrError{... on Workspace{locationEntries{name locationOrLoadError{__typename}}}}}"

    def probe() -> None:
        entries = graphql(url, query)["workspaceOrError"].get("locationEntries", [])
        missing = [one["name"] for one in entries if (one["locationOrLoadError"] or {}).get("__typename") != _LOADED]
        if missing or not entries:
            raise NotReady(f"{url} has not loaded {', '.join(missing) or 'any code'} yet")

    return probe


def dagster_daemon_beats(url: str, since_s: float) -> Probe:
    """Each of its loops has gone round since then, as the webserver at `url` can see."""
    query = "{instance{daemonHealth{allDaemonStatuses{daemonType required lastHeartbeatTime}}}}"

    def probe() -> None:
        statuses = graphql(url, query)["instance"]["daemonHealth"]["allDaemonStatuses"]
        beats = {one["daemonType"]: one["lastHeartbeatTime"] for one in statuses if one["required"]}
        late = [name for name, at_s in beats.items() if at_s is None or at_s < since_s]
        if late:
            raise NotReady(f"no heartbeat yet of {', '.join(late)}")

    return probe


def graphql(url: str, query: str, within_s: float = _ANSWER_WITHIN_S) -> Any:
    """The answer's data. Raises NotReady."""
    call = urllib.request.Request(
        f"{url}/graphql", data=json.dumps({"query": query}).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(call, timeout=within_s) as response:
            return json.load(response)["data"]
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise NotReady(f"POST {url}/graphql: {error}") from error


def port_is_open(host: str, port: int) -> Probe:
    """For a server that listens only once it can answer."""

    def probe() -> None:
        try:
            socket.create_connection((host, port), timeout=_ANSWER_WITHIN_S).close()
        except OSError as error:
            raise NotReady(f"{host}:{port}: {error}") from error

    return probe


def wait_until(probe: Probe, within_s: float, while_true: Callable[[], None]) -> None:
    """Poll until ready. Raises the last NotReady after `within_s`; `while_true` may raise to end it sooner."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return probe()
        except NotReady:
            while_true()
            if time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_INTERVAL_S)
