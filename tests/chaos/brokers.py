"""Which broker a proof starts for itself."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.kafka import KAFKA
from deploy.local.services import BROKER, Service
from deploy.local.stack import Stack

CHOSEN = "CHAOS_BROKER"  # of the environment, which proofs that run as tests of another suite inherit


def own_broker() -> Service:
    """The embedded one, or an Apache Kafka 4."""
    return KAFKA if os.environ.get(CHOSEN) == KAFKA.name else BROKER


@contextmanager
def hung(stack: Stack) -> Iterator[None]:
    """SIGSTOP: connections stay open and nobody answers."""
    process = stack.supervisor.info(own_broker().name)["pid"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
