"""`python tether.py COMMAND…`: become COMMAND, and die with the process that started it.

A test run that is killed cannot clean up after itself; the kernel does it (PR_SET_PDEATHSIG, which
survives exec). Linux only; elsewhere the command just runs. The kernel watches the thread that
forked, so start servers from a thread that lives as long as they should.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def tethered(command: list[str]) -> list[str]:
    """The command line that runs `command` tethered to its parent."""
    # -S -E: this small step needs no site-packages, which take most of an interpreter's start.
    return [sys.executable, "-S", "-E", str(Path(__file__)), *command]


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
