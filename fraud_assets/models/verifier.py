"""The child process that parses a new model first, so that whatever a parser does, it does it to itself.

Starting an interpreter takes a second, so a child stays for the next model; one that refused, hung or
died is replaced, since its memory may be anything. It ends when its parent's pipe closes.
"""

import contextlib
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from fraud_assets.models.manifest import RefusedModel

TIMEOUT_S = 120.0  # a cold machine compiles the kernels first
_HOME = Path(__file__).parents[2]  # where the child finds the package, wherever the parent was started
_COMMAND = [sys.executable, "-m", "fraud_assets.models", "serve"]


class Question(msgspec.Struct, frozen=True):
    """Which files to judge. The child reads them again, so it is told the hash: it judges these bytes and no others."""

    model_dir: str
    version: str
    manifest_sha256: str


class Verdict(msgspec.Struct, frozen=True):
    """reason: empty if the model is sound."""

    reason: str = ""
    detail: str = ""


class Verifier:
    """Asks a child, one model at a time. Not for several threads at once."""

    def __init__(self, command: list[str] | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._command = command or _COMMAND
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Have a child ready before it is needed."""
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=_HOME
            )

    def close(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def check(self, question: Question) -> None:
        """Raises RefusedModel: with the child's own reason, or because it hung (`parser_hung`) or died (`parser_died`)."""
        self.start()
        verdict = self._ask(question)
        if verdict.reason:
            self.close()
            raise RefusedModel(verdict.reason, verdict.detail)

    def _ask(self, question: Question) -> Verdict:
        assert self._child is not None and self._child.stdin is not None and self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(msgspec.json.encode(question) + b"\n")
            self._child.stdin.flush()
        if not _readable(self._child.stdout, self._timeout_s):
            return Verdict("parser_hung", f"no verdict within {self._timeout_s:.0f} s")
        try:
            return msgspec.json.decode(self._child.stdout.readline(), type=Verdict)
        except msgspec.DecodeError:
            return Verdict("parser_died", f"the child ended with {_ended(self._child)}")


def _ended(child: "subprocess.Popen[bytes]") -> int:
    """Its status; of one that goes on without a verdict, after it is made to end."""
    try:
        return child.wait(1)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _readable(pipe: Any, within_s: float) -> bool:
    """A line or the pipe's end has come. The child writes a line at once, so its first byte is all of it."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(within_s))
