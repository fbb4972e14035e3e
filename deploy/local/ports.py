"""Loopback ports: the usual one if it is free, else any other."""

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
            probe.bind((LOOPBACK, wish if wish and not is_taken and is_free(wish) else 0))
        return [int(probe.getsockname()[1]) for probe in held]
    finally:
        for probe in held:
            probe.close()


def free_port() -> int:
    return choose_ports([0])[0]
