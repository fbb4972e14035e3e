"""What is asked of one server in one round trip, whatever it is asked: scripts, and loads of a snapshot."""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from redis.exceptions import NoScriptError

KEYS_PER_LOAD = 500  # answers wait in the socket while we write: a few kilobytes, which every system buffers

T = TypeVar("T")
# Of a command, as redis-py packs them.
Words = Sequence[Any]


def scripted(node: Any, script: str, calls: Sequence[Words]) -> list[Any]:
    """Answers of the script, errors among them; a server that does not know it yet (new, restarted, promoted) is taught it once."""
    answers = _sent(node, script, calls)
    unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        node.script_load(script)
        for place, answer in zip(unknown, _sent(node, script, [calls[place] for place in unknown]), strict=True):
            answers[place] = answer
    return answers


def _sent(node: Any, script: str, calls: Sequence[Words]) -> list[Any]:
    digest = _digest(script)
    with node.pipeline(transaction=False) as pipe:
        for call in calls:
            pipe.execute_command("EVALSHA", digest, *call)
        return list(pipe.execute(raise_on_error=False))


@functools.cache
def _digest(script: str) -> str:
    """By which a server knows it."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def load(node: Any, commands: Iterable[bytes]) -> None:
    """Send packed commands, each answered by a word. Without redis-py's pipeline, which costs twice what the server does."""
    pool, waiting = node.connection_pool, 0
    connection = pool.get_connection()
    try:
        for chunk in chunks(commands, KEYS_PER_LOAD):
            connection.send_packed_command([b"".join(chunk)])
            _take_answers(connection, waiting)  # of the chunk before: the server works while we pack
            waiting = len(chunk)
        _take_answers(connection, waiting)
    except BaseException:
        connection.disconnect()  # answers are outstanding; nobody may take them for his
        raise
    finally:
        pool.release(connection)


def _take_answers(connection: Any, count: int) -> None:
    for _ in range(count):
        connection.read_response()


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
