"""The drift demo's summary for a person."""

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from deploy.local.drift_summary import Bad, DriftSummary, Figures
from fraud_assets.rollout.log import Entry
from fraud_assets.rollout.machine import kind
from simulator.metrics import percent

WORDS = {
    "detected": "a drift check failed",
    "asked": "the training was asked for",
    "trained": "it had passed its gates",
    "shadow": "shadow",
    "canary": "canary",
    "full": "full: champion",
    "recovered": "the former champion's last decision",
}


def print_summary(console: Console, summary: DriftSummary, steps: Sequence[Entry], links: dict[str, str]) -> None:
    """The time line, the figures, the bad candidate, and every step of the promotion log with who took it."""
    console.print(Panel(_time_line(summary), title="seconds after fraud had shifted", expand=False))
    console.print(Panel(_figures(summary), title="before, during, after", expand=False))
    if summary.bad:
        console.print(Panel(_bad(summary.bad), title="the bad candidate", expand=False))
    for one in steps:
        console.print(
            f"{one.rollout.sequence:>3} {kind(type(one.step)):<8} by {one.step.who}: {one.step.why}", markup=False
        )
    for name, link in links.items():
        console.print(f"{name:<8} {link}", soft_wrap=True, highlight=False)


def _time_line(summary: DriftSummary) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, at in msgspec.structs.asdict(summary.seconds_from_shift).items():
        table.add_row(WORDS[name], "[bold red]never[/]" if at is None else f"[bold]{at:,.0f} s[/]")
    table.add_row("trainings asked for", f"{summary.trainings}, {summary.trainings_failed} without a model that passed")
    table.add_row(
        "features that had drifted",
        f"{percent(summary.drift_before)} before, {percent(summary.drift_at_detection)} when found",
    )
    table.add_row("steps that a person took", ", ".join(summary.hands) or "none")
    return table


def _figures(summary: DriftSummary) -> Table:
    table = Table("", "payments", "frauds", "recall", "of the new fraud", "honest denied", "cost of 1,000", box=None)
    for name in ("before", "during", "after"):
        found: Figures = getattr(summary, name)
        cost = "–" if found.euros_per_1000 is None else f"{found.euros_per_1000:,.0f} €"
        shares = (percent(found.recall), percent(found.new_fraud_recall), percent(found.honest_denied, 1))
        table.add_row(name, f"{found.decided:,}", f"{found.frauds:,}", *shares, cost)
    return table


def _bad(bad: Bad) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "decided", f"[bold]{bad.decisions:,}[/]", f"of {bad.payments_in_canary:,} payments until its last one"
    )
    table.add_row(
        "halted after", "[bold red]never[/]" if bad.after_s is None else f"[bold]{bad.after_s:.0f} s[/]", bad.why
    )
    return table
