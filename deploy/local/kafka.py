"""Real Apache Kafka 4 (KRaft, one node, on loopback) for the integration suite.

    with running_kafka(tmp_path) as bootstrap_servers: ...

Needs Java 17 and Maven. Maven fetches the jars that java/pom.xml names, once, into var/java.
"""

import contextlib
import os
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

from deploy.local import probes
from deploy.local.maven import JavaUnavailable, fetched, program
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.services import BEHIND_PORT, PROXY_PORT, Context, Service
from deploy.local.stack import running

POM = Path(__file__).parent / "java" / "pom.xml"
_FORMAT_WITHIN_S = 60
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # started often, busy never

# Replication 1 and one partition for the internal topics: there is one node. No auto-creation: a
# topic that appears by a typing error has neither our partitions nor our clock. The first rebalance
# waits as long as the development broker's does.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{behind}
advertised.listeners=PLAINTEXT://{host}:{port}{proxy}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BEHIND:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=300
"""


@contextlib.contextmanager
def running_kafka(var_dir: Path) -> Iterator[str]:
    """A fresh Kafka until the block ends; yields its bootstrap address. Raises JavaUnavailable, ServiceFailed."""
    with running([KAFKA], var_dir) as stack:
        yield stack.env["KAFKA_BOOTSTRAP_SERVERS"]


def jars() -> Path:
    """The folder of Kafka's jars, downloaded on first use. Raises JavaUnavailable."""
    return fetched(POM, "dependency:copy-dependencies")


def java_command(main_class: str, *arguments: str) -> list[str]:
    return [program("java", "openjdk-17-jre-headless"), *_JVM, "-cp", f"{jars()}/*", main_class, *arguments]


def _properties(context: Context) -> Path:
    return context.dir("kafka") / "server.properties"


def _format(context: Context) -> None:
    """Write the settings and, the first time, an empty KRaft log."""
    log_dir = context.dir("kafka") / "log"
    behind, proxy = (context.env.get(name) for name in (BEHIND_PORT, PROXY_PORT))
    _properties(context).write_text(
        _PROPERTIES.format(
            host=LOOPBACK,
            port=context.port("kafka"),
            controller_port=free_port(),
            log_dir=log_dir,
            behind=f",BEHIND://{LOOPBACK}:{behind}" if behind else "",
            proxy=f",BEHIND://{LOOPBACK}:{proxy}" if behind else "",
        )
    )
    if not (log_dir / "meta.properties").exists():  # else a restart, of the same cluster
        format_log(_properties(context), log_dir, urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))


def format_log(properties: Path, log_dir: Path, cluster_id: str) -> None:
    """An empty KRaft log for a server of these properties. Raises JavaUnavailable."""
    # In one word: every sixty-fourth id begins with a dash, and would be taken for an option.
    command = java_command(
        "kafka.tools.StorageTool",
        "format",
        "--ignore-formatted",
        f"--cluster-id={cluster_id}",
        "-c",
        str(properties),
    )
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_FORMAT_WITHIN_S,
        check=False,
        cwd=log_dir.parent,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    if done.returncode:
        raise JavaUnavailable(f"StorageTool could not format {log_dir}:\n{(done.stdout + done.stderr)[-2000:]}")


KAFKA = Service(
    name="kafka",
    preferred_port=9092,
    argv=lambda c: java_command("kafka.Kafka", str(_properties(c))),
    provides=lambda c: {"KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{c.port('kafka')}"},
    prepare=_format,
    probe=lambda c: probes.kafka_answers(c.env["KAFKA_BOOTSTRAP_SERVERS"]),
    ready_within_s=90.0,
)
