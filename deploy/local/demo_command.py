"""What a demo does around its steps: it is stopped in order, its failure is one message, its verdict the exit code."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from rich.console import Console

from deploy.local.demo_folder import NotOurs, claim
from deploy.local.demo_steps import StepFailed
from deploy.local.given import UnfitServer


def demo_parser(module: str, doc: str | None, folder: str) -> argparse.ArgumentParser:
    """With `--var`, by default that folder of FRAUD_VAR_DIR. doc: of the module, shown as it is written."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default_var = Path(os.environ.get("FRAUD_VAR_DIR", "var")) / folder
    parser.add_argument("--var", type=Path, default=default_var, help="all state; wiped at the start")
    return parser


class Verdict(Protocol):
    """What a demo ends with."""

    def problems(self) -> list[str]:
        """Why this is not a success; empty if it is."""


def conduct(var_dir: Path, run: Callable[[Path, Console, float], Verdict]) -> NoReturn:
    """Run a demo in its folder, which is claimed and wiped, and exit: 0 if there are no problems."""
    began_s = time.monotonic()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        summary = run(claim(var_dir), console, began_s)
    except (NotOurs, StepFailed, UnfitServer) as failure:
        _fail(console, str(failure))
    except KeyboardInterrupt:
        _fail(console, f"interrupted; everything is stopped, what there is lies in {var_dir}", 130)
    problems = summary.problems()
    for problem in problems:
        console.print(f"[bold red]not as it should be:[/] {problem}")
    sys.exit(1 if problems else 0)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(console: Console, message: str, code: int = 1) -> NoReturn:
    console.print("[bold red]the demo failed:[/] ", end="")
    console.print(message, markup=False, soft_wrap=True)
    sys.exit(code)
