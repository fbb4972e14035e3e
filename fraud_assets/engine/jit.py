"""How kernels are compiled, and where the machine code is kept.

Numba's cache notices a change in the file of a function, not in the files of the functions it
calls, so a kernel could run yesterday's aggregator. The cache folder is therefore named by a digest
of all the engine's sources.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])

_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:16]

_FOLDER = Path(__file__).parent / "__pycache__" / f"numba-{_DIGEST}"
numba.config.CACHE_DIR = str(_FOLDER)


_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}


def cache_folder() -> Path:
    """Where machine code of this version of the engine is kept; it may be deleted at any time."""
    return _FOLDER


def kernel(function: Function) -> Function:
    """Compile to machine code on first call: no Python objects, no lock on the interpreter, cached.

    A kernel allocates nothing, so it needs no reference counts. Numba would count every array at every
    call, atomically, and that made reading a state ten times slower than the reading itself.
    """
    return cast(Function, numba.njit(_nrt=False, **_OPTIONS)(function))


def inlined(function: Function) -> Function:
    """A kernel's building block, always inlined: a call with array arguments costs more than its work."""
    return cast(Function, numba.njit(_nrt=False, forceinline=True, **_OPTIONS)(function))


def allocating_kernel(function: Function) -> Function:
    """A kernel that makes arrays of its own, once a call and never in its inner loop."""
    return cast(Function, numba.njit(**_OPTIONS)(function))


def request_kernel(function: Function) -> Function:
    """Compile a declared request feature. Division by zero gives an infinity, which is then null."""
    return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))
