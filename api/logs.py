"""One JSON line per event on standard output; never a card number, e-mail or raw address."""

import sys

import msgspec
import structlog


def configure() -> None:
    """For the whole process; call once, at its entry point."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialise),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


def _serialise(event: object, **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)
