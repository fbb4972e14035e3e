"""One JSON line per event on standard error: ours, and those of everybody who logs or ends in this process.

Of an error where it was raised and what it says, never the variables around it: they hold the records of that moment.
"""

import logging
import sys
import threading
from types import TracebackType

import structlog

# Quix logs by itself, and so does librdkafka where it is given a logger; what they say below this is about their working.
LEVEL = logging.WARNING
LIBRDKAFKA = logging.getLogger("librdkafka")

_SHARED: list[structlog.typing.Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
]


def configure() -> None:
    """For the whole process; call once, at its entry point, before Quix makes an application."""
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_SHARED],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=LEVEL, force=True)
    quix = logging.getLogger("quixstreams")  # adds a handler of its own, unless it has one
    quix.handlers, quix.propagate = [handler], False
    quix.setLevel(LEVEL)
    logging.captureWarnings(True)
    sys.excepthook = _ended
    threading.excepthook = lambda args: _ended(args.exc_type, args.exc_value, args.exc_traceback)


def _ended(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """What nobody caught, as a line like any other."""
    if error is None or issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    structlog.get_logger().error(
        "process_failed", error=kind.__name__, detail=str(error), exc_info=(kind, error, trace)
    )
