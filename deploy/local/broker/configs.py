"""Topic settings: which are honoured, which are only kept, and what a valid value is."""

from collections.abc import Callable, Mapping

from kio.schema.errors import ErrorCode

from deploy.local.broker.errors import Refused

HONOURED: Mapping[str, str] = {
    "cleanup.policy": "delete",  # `compact` is accepted and keeps everything
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    # Kafka's default is 1 GiB; retention works on whole segments, so a small disk wants small ones.
    "segment.bytes": "16777216",
    "segment.ms": "604800000",
}
"""Name and default of every setting that changes what this broker does."""

KEPT: Mapping[str, str] = {
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "file.delete.delay.ms": "60000",
    "flush.messages": "9223372036854775807",
    "flush.ms": "9223372036854775807",
    "index.interval.bytes": "4096",
    "max.compaction.lag.ms": "9223372036854775807",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "preallocate": "false",
    "segment.index.bytes": "10485760",
    "segment.jitter.ms": "0",
    "unclean.leader.election.enable": "false",
}
"""Settings of real Kafka that one node of development does not need: stored, described, without effect."""

DEFAULTS: Mapping[str, str] = {**HONOURED, **KEPT}


def _is_integer(least: int) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        return value.lstrip("-").isdecimal() and int(value) >= least

    return check


_VALID: Mapping[str, Callable[[str], bool]] = {
    "cleanup.policy": lambda value: bool(value) and set(value.split(",")) <= {"delete", "compact"},
    "max.message.bytes": _is_integer(0),
    "message.timestamp.type": lambda value: value in ("CreateTime", "LogAppendTime"),
    "retention.bytes": _is_integer(-1),
    "retention.ms": _is_integer(-1),
    "segment.bytes": _is_integer(1),
    "segment.ms": _is_integer(1),
}


def check_config(config: Mapping[str, str | None]) -> dict[str, str]:
    """The settings, all known and valid. Raises Refused naming the first that is not."""
    checked: dict[str, str] = {}
    for name, value in config.items():
        if name not in DEFAULTS:
            raise Refused(ErrorCode.invalid_config, f"unknown topic setting {name!r}")
        if value is None or not _VALID.get(name, bool)(value):
            raise Refused(ErrorCode.invalid_config, f"{name}={value!r} is not a valid value")
        checked[name] = value
    return checked
