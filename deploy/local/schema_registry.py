"""Apicurio Registry (one process, in memory, on loopback): a Confluent-compatible schema registry for the tests.

    with running([SCHEMA_REGISTRY], tmp_path) as stack: stack.env["SCHEMA_REGISTRY_URL"]

Needs Java 17 and Maven, which fetches 140 MB, once, into var/java.
"""

from pathlib import Path

from deploy.local import probes
from deploy.local.maven import fetched, program
from deploy.local.ports import LOOPBACK
from deploy.local.services import Context, Service

POM = Path(__file__).parent / "java" / "schema-registry.xml"
_JVM = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # started often, busy never


def jar() -> Path:
    """The registry's jar, downloaded on first use. Raises JavaUnavailable."""
    (found,) = fetched(POM, "dependency:unpack-dependencies").glob("*-runner.jar")
    return found


def _command(context: Context) -> list[str]:
    port = context.port("schema-registry")
    listens = (f"-Dquarkus.http.host={LOOPBACK}", f"-Dquarkus.http.port={port}")
    return [program("java", "openjdk-17-jre-headless"), *_JVM, *listens, "-jar", str(jar())]


def _url(context: Context) -> str:
    return f"http://{LOOPBACK}:{context.port('schema-registry')}/apis/ccompat/v7"


SCHEMA_REGISTRY = Service(
    name="schema-registry",
    preferred_port=8081,
    argv=_command,
    provides=lambda c: {"SCHEMA_REGISTRY_URL": _url(c)},
    probe=lambda c: probes.http_answers(f"{_url(c)}/subjects"),
    ready_within_s=120.0,
)
