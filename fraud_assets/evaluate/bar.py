"""The bar that long measurements show."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

COLUMNS = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def progress_bar(console: Console) -> Progress:
    """Gone when done. What is printed meanwhile goes to standard output, also where that is a file: left to itself, Rich would print it on `console`."""
    return Progress(*COLUMNS, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
