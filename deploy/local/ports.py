"""Loopback ports: the usual one if it is free, else any other."""

import contextlib
import socket
from collections.abc import Iterable

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on it now; a port in TIME_WAIT counts as free, as servers reuse those."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose_ports(preferred: Iterable[int]) -> list[int]:
    """One port for each wish, all different; 0 means no wish.

    All are held open until the last is chosen, so that no two are the same. Whoever starts a server
    must still cope with a port taken in between: that is what readiness probes find out.
    """
    held: list[socket.socket] = []
    try:
        for wish in preferred:
            probe = socket.socket()
            held.append(probe)
            is_taken = any(other.getsockname()[1] == wish for other in held[:-1])
            _bind(probe, 0 if is_taken else wish)
        return [int(probe.getsockname()[1]) for probe in held]
    finally:
        for probe in held:
            probe.close()


def _bind(probe: socket.socket, wish: int) -> None:
    """To the wish if it is free, else anywhere; somebody may take it between the question and the bind."""
    if wish and is_free(wish):
        # As servers do: a port in TIME_WAIT is theirs for the asking.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            return probe.bind((LOOPBACK, wish))
    return probe.bind((LOOPBACK, 0))


def free_port() -> int:
    return choose_ports([0])[0]
