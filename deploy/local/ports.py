"""Loopback ports: the usual one if it is free, else any other."""

import contextlib
import socket
import sys
from collections.abc import Iterable, Iterator

LOOPBACK = "127.0.0.1"

# Of a thousand ports a busy machine has perhaps two hundred taken, and rows are short.
_ROW_ATTEMPTS = 1_000


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


@contextlib.contextmanager
def held_ports(count: int, *, in_a_row: bool = False) -> Iterator[list[int]]:
    """Free ports that only a server who asks for them by number gets while the block lasts, as often as it is restarted.

    An outgoing connection takes any port that no socket is bound to, and keeps it for a minute after its end; so a port that
    was merely chosen may be gone when its server starts. in_a_row: consecutive numbers.
    """
    with contextlib.ExitStack() as stack:
        held = _row(count, stack) if in_a_row else [stack.enter_context(_held()) for _ in range(count)]
        ports = [int(one.getsockname()[1]) for one in held]
        if sys.platform != "linux":
            stack.close()  # there a bound port is nobody else's, not even the server's that it is meant for
        yield ports


def _held(port: int = 0) -> socket.socket:
    """Bound and never listening, so a client is refused. Raises OSError if anybody is bound to it."""
    held = socket.socket()
    try:
        held.bind((LOOPBACK, port))
    except OSError:
        held.close()
        raise
    # Servers set it too, and two who do share a port that none listens to. Only now: we would share with another holder.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return held


def _row(count: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    for _ in range(_ROW_ATTEMPTS):
        with contextlib.ExitStack() as attempt, contextlib.suppress(OSError, OverflowError):
            row = [attempt.enter_context(_held())]
            while len(row) < count:
                row.append(attempt.enter_context(_held(row[-1].getsockname()[1] + 1)))
            stack.push(attempt.pop_all())
            return row
    raise OSError(f"no {count} free ports in a row after {_ROW_ATTEMPTS} attempts")
