"""Watches its own interpreter from its first line: every object that is unpickled, and who asked for it.

Python runs this file at its start where the folder is on PYTHONPATH, so children of the process are watched too.
What it sees goes into the file of UNPICKLED_FILE, a line of JSON each.
"""

import json
import os
import pickle  # noqa: TID251  # to watch it
import sys
from typing import Any

_OUT = os.open(os.environ["UNPICKLED_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
# The import system reads compiled modules with marshal: that is loading code, from where code is loaded.
_IMPORT_SYSTEM = "<frozen importlib._bootstrap_external>"
_OWN = (__file__, pickle.__file__)


def _seen(what: str) -> None:
    frame: Any = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename in _OWN:
        frame = frame.f_back
    told = {"pid": os.getpid(), "what": what, "file": frame.f_code.co_filename, "function": frame.f_code.co_name}
    if not (what == "marshal" and told["file"] == _IMPORT_SYSTEM):
        os.write(_OUT, json.dumps(told).encode() + b"\n")


def _audited(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        _seen(f"class {arguments[0]}.{arguments[1]}")
    elif event in ("marshal.loads", "marshal.load"):
        _seen("marshal")
    elif event == "open" and str(arguments[0]).endswith((".nbi", ".nbc")):
        _seen(f"opens {arguments[0]}")


def _watched(original: Any) -> Any:
    """A pickle of numbers and texts names no class, so the audit hook alone would not see it."""

    def unpickle(*arguments: Any, **options: Any) -> Any:
        _seen("pickle")
        return original(*arguments, **options)

    return unpickle


sys.addaudithook(_audited)
pickle.load, pickle.loads = _watched(pickle.load), _watched(pickle.loads)
