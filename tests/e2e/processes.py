"""Whose a process is."""

from pathlib import Path

import psutil


def at_work_in(var_dir: Path) -> list[int]:
    """Pids of the processes of a stack, however they were started; another user's are not seen."""
    return [process.pid for process in psutil.process_iter() if _works_in(process, var_dir)]


def _works_in(process: psutil.Process, var_dir: Path) -> bool:
    """Every process of a stack is told its folder. Valkey overwrites what it was told, and works in a folder of its own below it."""
    try:
        told = process.environ().get("FRAUD_VAR_DIR")
        return told == str(var_dir) or Path(process.cwd()).is_relative_to(var_dir)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
