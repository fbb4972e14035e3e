"""Keeping pandas out of a process that has no use for it."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises for pandas; everything else is somebody else's to find."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is kept out of this process", name=fullname)
        return None


def without_pandas() -> None:
    """Arrow imports pandas, where installed, only to ask whether a value is a Series.

    That is half a second and 60 MB for a process that holds none. To Arrow it now is not installed.
    For entry points only: it changes the process.
    """
    sys.meta_path.insert(0, _NoPandas())
