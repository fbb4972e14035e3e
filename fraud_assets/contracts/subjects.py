"""The contracts in a Confluent-compatible schema registry, where there is one; else the files in `published/` are all there is.

A subject is `<topic>-value`. Before a process produces or consumes, its subjects hold every recorded shape of its topics, and
it reads whatever they hold. Records stay plain JSON without the registry's five bytes in front: a topic's name has the
version of its contract, so nobody needs to ask a registry to read one.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
import structlog

from fraud_assets.contracts.shapes import IncompatibleContract, Schema, differences, recorded
from fraud_assets.contracts.topics import Topic

COMPATIBILITY = "BACKWARD_TRANSITIVE"
KIND = "JSON"
TIMEOUT_S = 10
NOT_FOUND, CONFLICT = 404, 409

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class RegistryUnavailable(RuntimeError):
    """The registry did not answer, or refused us; nothing was learnt about the contracts."""


class SubjectRegistry(Protocol):
    """Versions of subjects. Every method raises RegistryUnavailable."""

    def versions(self, subject: str) -> list[Schema]:
        """Every version, oldest first; none of a subject that is not there."""

    def demand(self, subject: str, compatibility: str) -> None:
        """From now on the registry itself refuses versions of the subject that break the rule."""

    def register(self, subject: str, shape: Schema) -> None:
        """Add a version, or find it there. Raises IncompatibleContract, in the registry's words."""


def subject_of(topic: Topic) -> str:
    return f"{topic.name}-value"


def agree(registry: SubjectRegistry, topics: Iterable[Topic]) -> None:
    """Ordered steps, topic by topic: compare with what is there; demand the rule; register what is missing.

    A process of the version before, started again while a later one has registered its shape, goes on: all that it knows is there.
    Raises IncompatibleContract, which names the field and the version, before anything of the topic is registered; RegistryUnavailable.
    """
    for topic in topics:
        subject = subject_of(topic)
        there, ours = registry.versions(subject), recorded(topic.name)
        missing = [shape for shape in ours if shape not in there]
        if missing:
            _refuse_what_we_do_not_read(subject, ours[-1], there)
        registry.demand(subject, COMPATIBILITY)
        for shape in missing:
            registry.register(subject, shape)
        log.info("contract_agreed", subject=subject, registered=len(missing), versions=len(there) + len(missing))


def _refuse_what_we_do_not_read(subject: str, ours: Schema, there: list[Schema]) -> None:
    faults = [
        f"{difference} (version {number})"
        for number, writer in enumerate(there, start=1)
        for difference in differences(ours, writer)
    ]
    if faults:
        raise IncompatibleContract(
            f"IncompatibleContract: {subject} in the schema registry holds what this process would refuse or change:"
            f" {'; '.join(faults)}. Run the release that registered it, or declare a new topic (contracts/topics.py)."
        )


def agree_or_exit(url: str | None, topics: Iterable[Topic]) -> None:
    """For the entry point of a process: without a URL nothing; a contract that is refused, or a registry that is gone, ends it."""
    if url is None:
        return
    try:
        agree(ConfluentRegistry(url), topics)
    except (IncompatibleContract, RegistryUnavailable) as error:
        log.error("contract_refused", error=type(error).__name__, detail=str(error))
        sys.exit(1)


class ConfluentRegistry:
    """`SubjectRegistry` by Confluent's own client. url: the API's root; it may carry `user:password@`."""

    def __init__(self, url: str) -> None:
        # A fifth of a second, which a process without a registry need not spend.
        from confluent_kafka.schema_registry import Schema as Registered
        from confluent_kafka.schema_registry import SchemaRegistryClient

        self._client = SchemaRegistryClient({"url": url, "timeout": TIMEOUT_S, "max.retries": 2})
        self._schema = Registered

    def versions(self, subject: str) -> list[Schema]:
        numbers = self._asked(self._client.get_versions, subject, absent=[])
        found = [self._asked(self._client.get_version, subject, number) for number in numbers]
        return [msgspec.json.decode(one.schema.schema_str) for one in found]

    def demand(self, subject: str, compatibility: str) -> None:
        self._asked(self._client.set_compatibility, subject, compatibility)

    def register(self, subject: str, shape: Schema) -> None:
        text = msgspec.json.encode(shape, order="sorted").decode()
        self._asked(self._client.register_schema, subject, self._schema(text, KIND))

    def _asked(self, call: Callable[..., Any], *arguments: Any, absent: Any = None) -> Any:
        """absent: what stands for a subject that is not there."""
        import httpx
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return call(*arguments)
        except SchemaRegistryError as error:
            if error.http_status_code == NOT_FOUND and absent is not None:
                return absent
            if error.http_status_code == CONFLICT:
                raise IncompatibleContract(
                    f"IncompatibleContract: the schema registry refuses {arguments[0]}: {error}"
                ) from error
            raise RegistryUnavailable(f"RegistryUnavailable: {arguments[0]}: {error}") from error
        except httpx.HTTPError as error:
            raise RegistryUnavailable(
                f"RegistryUnavailable: {type(error).__name__} while asking about {arguments[0]};"
                " is SCHEMA_REGISTRY_URL right, and the registry up?"
            ) from error
