"""Steps a person watches: what is being done, for how long, what it says; and what went wrong, and where."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy.local.services import ROOT
from deploy.local.tether import tethered

TAIL_LINES = 25
_LOOK_S = 0.2
# Where there is no terminal (CI) nothing can be redrawn; a line now and then shows that it lives.
_SAY_EVERY_S = 15.0
_STOP_WITHIN_S = 10.0
_TAIL_BYTES = 64_000

Describe = Callable[[str], str]


class StepFailed(RuntimeError):
    """A step did not do its work; the message says which, why, and ends with the last lines of its log."""


class Step:
    """One step at work. `note` is what it says now, `result` what stays on the line when it is done."""

    def __init__(self, steps: "Steps", title: str) -> None:
        self.title = title
        self.result = ""
        self._steps = steps
        self._began_s = self._said_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def note(self, text: str) -> None:
        self._steps.show(self, text)
        if not self._steps.console.is_terminal and text and time.monotonic() - self._said_s > _SAY_EVERY_S:
            self._said_s = time.monotonic()
            self._steps.console.print(f"    {self.elapsed_s:5.0f} s  {escape(text)}")


class Steps:
    """The steps of one command, one after the other; `total` of them."""

    def __init__(self, console: Console, total: int, log_dir: Path, env: Mapping[str, str]) -> None:
        self.console = console
        self.env = dict(env)
        self._total = total
        self._log_dir = log_dir
        self._count = 0
        self._progress: Progress | None = None

    def show(self, step: Step, text: str) -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], said=escape(text[: max(20, self.console.width - 55)]))
        del step

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Announce, run, and say how long it took. An error leaves with the step's title in front."""
        self._count += 1
        step = Step(self, title)
        head = f"[dim]\\[{self._count}/{self._total}][/] [bold]{title}[/]"
        if not self.console.is_terminal:
            self.console.print(f"{head} …")
        columns = (SpinnerColumn(), TextColumn(head), TimeElapsedColumn(), TextColumn("[dim]{task.fields[said]}"))
        try:
            redrawn = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
            with redrawn as self._progress:
                self._progress.add_task("", total=None, said="")
                yield step
        except StepFailed as failure:
            raise StepFailed(f"step {self._count} of {self._total}, {title}: {failure}") from failure
        finally:
            self._progress = None
        done = f"[green]✔[/] {head} [dim]{step.elapsed_s:.1f} s[/]  {escape(step.result)}"
        self.console.print(done, soft_wrap=True)

    def log_path(self, name: str) -> Path:
        return self._log_dir / f"{name}.log"

    def run(self, step: Step, name: str, argv: Sequence[str], describe: Describe, within_s: float) -> str:
        """A command of a step: everything it says is in `logs/<name>.log`, which is returned.

        describe: what of the log's last line is worth showing. Raises StepFailed.
        """
        return self.watch(step, name, argv, lambda: describe(last_line(self.log_path(name))), within_s)

    def watch(self, step: Step, name: str, argv: Sequence[str], look: Callable[[], str], within_s: float) -> str:
        """`run`, with something else to look at while it works than its log."""
        log = self.log_path(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            process = start(argv, self.env, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + within_s
            while process.poll() is None:
                step.note(look())
                if time.monotonic() > deadline:
                    raise StepFailed(f"not done within {within_s:g} s\n{log_tail(log)}")
                time.sleep(_LOOK_S)
        finally:
            stop(process)
        if process.returncode:
            raise StepFailed(f"{' '.join(argv[1:])} ended with {process.returncode}\n{log_tail(log)}")
        return log.read_text(errors="replace")


def start(argv: Sequence[str], env: Mapping[str, str], **streams: Any) -> "subprocess.Popen[bytes]":
    """A command of ours, in the stack's environment. Tethered: it dies with this process, however that ends."""
    return subprocess.Popen(
        tethered(list(argv)),
        cwd=ROOT,
        env={**os.environ, **env},
        start_new_session=True,  # Ctrl-C is for us; we stop it in order
        **{"stdin": subprocess.DEVNULL, **streams},
    )


def stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, then SIGKILL; nothing if it has ended."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(path: Path) -> str:
    """The last line that says something."""
    lines = _tail(path)
    return lines[-1] if lines else ""


def log_tail(path: Path, count: int = TAIL_LINES) -> str:
    return f"last lines of {path}:\n" + "\n".join(f"  | {line}" for line in _tail(path)[-count:])


def _tail(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
