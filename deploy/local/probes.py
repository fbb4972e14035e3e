"""Readiness: is a service answering the question its users will ask? And if not, why not yet."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable

import confluent_kafka
import redis
from confluent_kafka.admin import AdminClient

Probe = Callable[[], None]
"""Returns when ready; raises NotReady with the reason otherwise. Must itself return within seconds."""

_POLL_INTERVAL_S = 0.05
_ANSWER_WITHIN_S = 2.0


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


def group_is_consuming(bootstrap_servers: str, group: str) -> Probe:
    """A consumer group has members and its partitions are assigned."""

    def probe() -> None:
        admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        try:
            described = admin.describe_consumer_groups([group], request_timeout=_ANSWER_WITHIN_S)[group].result()
        except confluent_kafka.KafkaException as error:
            raise NotReady(f"consumer group {group}: {error}") from error
        if described.state.name != "STABLE":
            raise NotReady(f"consumer group {group} is {described.state.name}, {len(described.members)} members")

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
