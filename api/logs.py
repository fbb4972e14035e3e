"""One JSON line per event on standard output, whoever says it; never a card number, e-mail or raw address."""

import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import msgspec
import structlog
from structlog.typing import EventDict

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure() -> None:
    """For the whole process; call once, at its entry point."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _stamped,
            structlog.processors.format_exc_info,
            _rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )

    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def raised_at(error: BaseException) -> list[str]:
    """Where an error came from. Not its message: that may hold what was sent."""
    return [f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in traceback.extract_tb(error.__traceback__)[-5:]]


class _Libraries(logging.Handler):
    """What uvicorn, librdkafka and the interpreter say, as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        said, error = record.getMessage(), record.exc_info[1] if record.exc_info else None
        if record.name == "asyncio":  # what follows its first line shows the values of a task
            said = said.partition("\n")[0]
        where = {"error": type(error).__name__, "at": raised_at(error)} if error else {}
        structlog.get_logger().log(record.levelno, "library", said=said, logger=record.name, **where)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Of a process that ends, or of a thread: no request is in its hands, so its message may be told."""
    if error is None or not isinstance(error, Exception):
        sys.__excepthook__(kind, error or kind(), trace)
        return
    structlog.get_logger().critical("uncaught", error=kind.__name__, detail=str(error), at=raised_at(error))


def _stamped(_logger: object, _method: str, event: EventDict) -> EventDict:
    """As `TimeStamper(fmt="iso")` says it, for a quarter of the price: the encoder writes times by itself."""
    event["timestamp"] = datetime.now(UTC)
    return event


def _rendered(_logger: object, _method: str, event: EventDict) -> bytes:
    return _encode(event)
