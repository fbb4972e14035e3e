"""A Redis Cluster of this machine: three masters, each with a replica, on loopback. For tests; its servers are those of `valkey.py`."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.retry import Retry

from deploy.local.ports import LOOPBACK, held_ports
from deploy.local.tether import tethered
from deploy.local.valkey import valkey_command

MASTERS = 3
# After so long without a word a master counts as gone, and a replica that has lost its master for ten times as long is none any more.
NODE_TIMEOUT_MS = 2_000
UP_WITHIN_S = 60.0
ANSWER_WITHIN_S = 5.0


@dataclass
class Node:
    """One server of the cluster."""

    port: int
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Any:
        """redis-py's, typed as anything; connects anew."""
        return redis.Redis(LOOPBACK, self.port, socket_timeout=ANSWER_WITHIN_S, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(tethered(self.command), stdout=out, stderr=out)

    def signal(self, blow: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(blow)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class RedisCluster:
    """masters, replicas: as they were made; the replica of a master has its place. url: all of them."""

    masters: list[Node] = field(default_factory=list)
    replicas: list[Node] = field(default_factory=list)

    @property
    def nodes(self) -> list[Node]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'{LOOPBACK}:{node.port}' for node in self.nodes)}"

    def master_of(self, name: str) -> Node:
        """Who was made the master of a key."""
        slot: int = self.masters[0].client.cluster("KEYSLOT", name)
        return self.masters[slot * MASTERS // REDIS_CLUSTER_HASH_SLOTS]

    def cut_off(self, master: Node) -> None:
        """Its replication stops and cannot begin again, while its clients and the cluster's own bus go on: what is written then, it has alone."""
        replica = self.replicas[self.masters.index(master)].client
        master.client.acl_setuser("default", enabled=True, commands=["-psync", "-sync", "-replconf"])
        master.client.client_kill_filter(_type="replica")
        _wait(lambda: replica.info("replication")["master_link_status"] == "down", "the replica is cut off")

    def flush(self) -> None:
        """Everywhere."""
        for node in self.masters:
            node.client.flushall()


@contextmanager
def running_cluster(folder: Path) -> Iterator[RedisCluster]:
    """Whole, with a replica at each master that has all its master has."""
    with held_ports(4 * MASTERS) as ports:
        nodes = [_node(folder, port, bus) for port, bus in zip(ports[::2], ports[1::2], strict=True)]
        made = RedisCluster(nodes[:MASTERS], nodes[MASTERS:])
        try:
            for node in nodes:
                node.start()
            _join(made, dict(zip(ports[::2], ports[1::2], strict=True)))
            yield made
        finally:
            for node in nodes:
                node.kill()


def _node(folder: Path, port: int, bus: int) -> Node:
    data = folder / str(port)
    data.mkdir(parents=True)
    options = {
        "--cluster-enabled": "yes", "--cluster-port": bus, "--cluster-node-timeout": NODE_TIMEOUT_MS,
        # A part of the keys that nobody serves is no reason to refuse the others.
        "--cluster-require-full-coverage": "no", "--repl-diskless-sync-delay": 0,
    }  # fmt: skip
    command = [*valkey_command(port, data), *(str(word) for option in options.items() for word in option)]
    return Node(port, command, folder / f"{port}.log")


def _join(made: RedisCluster, buses: dict[int, int]) -> None:
    for node in made.nodes:
        _wait(lambda node=node: node.client.ping(), f"{node.port} answers")  # type: ignore[misc]  # a loop's own
    for place, node in enumerate(made.masters):
        first = -(-place * REDIS_CLUSTER_HASH_SLOTS // MASTERS)
        last = -(-(place + 1) * REDIS_CLUSTER_HASH_SLOTS // MASTERS) - 1
        node.client.cluster("ADDSLOTSRANGE", first, last)
    for place, node in enumerate(made.nodes):
        node.client.cluster("SET-CONFIG-EPOCH", place + 1)
        if place:
            made.nodes[0].client.cluster("MEET", LOOPBACK, node.port, buses[node.port])
    for node in made.nodes:
        _wait(lambda node=node: _known(node) == len(made.nodes), f"{node.port} knows the others")  # type: ignore[misc]
    for master, replica in zip(made.masters, made.replicas, strict=True):
        identity = master.client.cluster("MYID").decode()
        _wait(lambda replica=replica, identity=identity: replica.client.cluster("REPLICATE", identity), "it replicates")  # type: ignore[misc]
    for replica in made.replicas:
        _wait(lambda replica=replica: replica.client.info("replication")["master_link_status"] == "up", "it has all")  # type: ignore[misc]
    for node in made.nodes:
        _wait(lambda node=node: node.client.cluster("INFO")["cluster_state"] == "ok", "the cluster is whole")  # type: ignore[misc]


def _known(node: Node) -> int:
    return int(node.client.cluster("INFO")["cluster_known_nodes"])


def _wait(question: Callable[[], Any], claim: str) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while True:
        with suppress(redis.RedisError):
            if question():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {UP_WITHIN_S:g} s: {claim}")
        time.sleep(0.05)
