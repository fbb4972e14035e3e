"""Which server has a key: the only one there is, or that node of a Redis Cluster which says so.

The cluster is known by redis-py, which asks its nodes for their slots. Commands then go to a node as to any server, so that a batch for a
node is one round trip and nothing is sent twice; whoever is refused looks again and tries again by itself.
"""

import contextlib
from typing import Any, Protocol, Self, cast
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""`redis+cluster://user:password@host:port,host:port`: some nodes, of which one must answer; the others are learnt from it."""


def is_cluster(url: str) -> bool:
    return url.partition("://")[0] in CLUSTER_SCHEMES


def seeds(url: str) -> list[str]:
    """The nodes that a cluster's URL names, each as a server's URL. Raises ValueError, without the URL's password, if it names none."""
    scheme, _, rest = url.partition("://")
    credentials, at, hosts = rest.partition("/")[0].rpartition("@")
    found = [
        f"{CLUSTER_SCHEMES[scheme]}://{credentials}{at}{host.strip()}" for host in hosts.split(",") if host.strip()
    ]
    if not found:
        raise ValueError("a Redis Cluster's address is redis+cluster://host:port,host:port")
    return found


class Nodes(Protocol):
    """Clients are redis-py's, typed as anything: it types every answer as a union with awaitables."""

    def at(self, name: str) -> Any:
        """The client of the server that has a key. Raises RedisError."""

    def every(self) -> list[Any]:
        """Those of all servers that have keys. Raises RedisError."""

    def look_again(self) -> None:
        """A server did not answer, or says that a key is elsewhere."""

    def close(self) -> None: ...


class OneServer:
    """`Nodes` of a single server."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @classmethod
    def connect(cls, url: str, timeout_s: float) -> Self:
        """Connects on first use."""
        return cls(
            redis.Redis.from_url(
                url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s
            )
        )

    def at(self, name: str) -> Any:  # noqa: ARG002  # it has all keys
        return self._client

    def every(self) -> list[Any]:
        return [self._client]

    def look_again(self) -> None:
        """There is no other."""

    def close(self) -> None:
        self._client.close()


class ClusterNodes:
    """`Nodes` of a Redis Cluster: its masters."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._seeds = [urlsplit(one) for one in seeds(url)]
        self._timeout_s = timeout_s
        self._known: RedisCluster | None = None

    def at(self, name: str) -> Any:
        cluster: Any = self._cluster()
        return cluster.get_redis_connection(cluster.get_node_from_key(name))

    def every(self) -> list[Any]:
        cluster: Any = self._cluster()
        return [cluster.get_redis_connection(node) for node in cluster.get_primaries()]

    def look_again(self) -> None:
        """Of those that are known; if none of them answers, of those that the URL names, the next time."""
        if self._known is None:
            return
        try:
            self._known.nodes_manager.initialize()
        except redis.RedisError:
            self.close()

    def close(self) -> None:
        if self._known is not None:
            with contextlib.suppress(redis.RedisError):
                self._known.close()
            self._known = None

    def _cluster(self) -> RedisCluster:
        if self._known is None:
            first, node = self._seeds[0], cast(Any, ClusterNode)  # untyped
            self._known = RedisCluster(
                startup_nodes=[node(one.hostname or "127.0.0.1", one.port or 6379) for one in self._seeds],
                username=unquote(first.username) if first.username else None,
                password=unquote(first.password) if first.password else None,
                ssl=first.scheme == "rediss",
                retry=Retry(NoBackoff(), 0),
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                # Parts whose node is away are away; the others are there.
                require_full_coverage=False,
            )
        return self._known


def nodes_of(url: str, timeout_s: float) -> Nodes:
    return ClusterNodes(url, timeout_s) if is_cluster(url) else OneServer.connect(url, timeout_s)
