"""What happened in a demo, in figures: for machines, and for a person."""

import msgspec
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from simulator.metrics import Percentiles, RunMetrics, listed, percent
from simulator.report import Skew as SkewFound

# The scorer decides all that the client saw decided; a few records may be lost with a process, and a proof about
# less than this share of them is one about other decisions.
CHECKED_SHARE = 0.9


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """null where nothing was decided of it."""

    recall: float | None
    precision: float | None


class Skew(msgspec.Struct, frozen=True, kw_only=True):
    """Served vectors recomputed from the log, and how many of them were not the same bits."""

    checked: int
    mismatches: int


class Cases(msgspec.Struct, frozen=True, kw_only=True):
    """How many, and why; a case may have several reasons."""

    count: int
    reasons: dict[str, int]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """`summary.json`. seconds: of the whole demo, from its start to its last figure.

    unanswered: purchases without a decision. degraded: decisions made without history. stale_reads: checked
    decisions that lacked an event they should have known. pending: decisions that the lake does not cover
    yet, so unchecked.
    """

    decisions: int
    decisions_per_s: float
    latency_ms: Percentiles
    attack: Attack
    skew: Skew
    seconds: float
    purchases: int
    unanswered: Cases
    degraded: Cases
    stale_reads: int
    pending: int

    @classmethod
    def of(cls, metrics: RunMetrics, found: SkewFound, seconds: float) -> "Summary":
        return cls(
            decisions=metrics.decisions,
            decisions_per_s=metrics.decisions_per_s,
            latency_ms=metrics.latency_ms,
            attack=Attack(recall=metrics.attack.recall, precision=metrics.attack.precision),
            skew=Skew(checked=found.checked, mismatches=found.mismatches),
            seconds=round(seconds, 1),
            purchases=metrics.purchases,
            unanswered=Cases(count=sum(metrics.unanswered.values()), reasons=metrics.unanswered),
            degraded=Cases(count=metrics.degraded, reasons=metrics.degraded_reasons),
            stale_reads=found.stale_reads,
            pending=found.pending,
        )

    def problems(self) -> list[str]:
        """Why this is not a success; empty if it is."""
        found = []
        if not self.decisions:
            found.append("the platform decided nothing")
        if self.attack.recall is None:
            found.append("nothing of the attack was decided, so nobody knows whether it is caught")
        readable = self.decisions - self.degraded.count - self.pending
        if not self.skew.checked:
            found.append("no served vector was checked against the log")
        elif self.skew.checked < CHECKED_SHARE * readable:
            found.append(f"{self.skew.checked} vectors were checked of {readable} decisions that read history")
        if self.pending:
            found.append(f"{self.pending} decisions are not in the lake yet, so their vectors are unchecked")
        if self.skew.mismatches:
            found.append(
                f"{self.skew.mismatches} of {self.skew.checked} served vectors differ from their recomputation"
            )
        return found


def print_summary(console: Console, summary: Summary, metrics: RunMetrics, links: dict[str, str]) -> None:
    """The figures as a table, then where to look further."""
    table = Table.grid(padding=(0, 2))
    latency, attack, skew = summary.latency_ms, metrics.attack, summary.skew
    table.add_row("decisions", f"[bold]{summary.decisions:,}[/]", f"{summary.decisions_per_s:,.1f} per second")
    table.add_row("unanswered", *_cases(summary.unanswered, f"of {summary.purchases:,} purchases"))
    table.add_row("degraded", *_cases(summary.degraded, "decided without history"))
    table.add_row("latency", f"[bold]{_ms(latency.p50)}[/] median", f"p95 {_ms(latency.p95)}, p99 {_ms(latency.p99)}")
    table.add_row(
        "attack, recall", f"[bold]{percent(attack.recall)}[/]", f"{attack.caught} of {attack.decided} purchases caught"
    )
    table.add_row(
        "attack, precision", f"[bold]{percent(attack.precision)}[/]", f"{attack.false_alarms} honest purchases flagged"
    )
    color = "red" if summary.problems() else "green"
    table.add_row(
        "skew",
        f"[bold {color}]{skew.mismatches} mismatches[/]",
        f"of {skew.checked:,} served vectors recomputed from the log",
    )
    table.add_row("stale reads", *_count(summary.stale_reads, "vectors lacked what had arrived a second before"))
    table.add_row("pending", *_count(summary.pending, "decisions not yet in the lake, so not checked"))
    table.add_row("time", f"[bold]{summary.seconds:.0f} s[/]", "from the start to this line")
    console.print(Panel(table, title="what happened", expand=False))
    for name, link in links.items():
        console.print(f"{name:<8} {link}", soft_wrap=True, highlight=False)


def _cases(cases: Cases, what: str) -> tuple[str, str]:
    return _count(cases.count, f"{what}: {listed(cases.reasons)}" if cases.reasons else what)


def _count(count: int, what: str) -> tuple[str, str]:
    """None of these ends the demo as a failure, and none is hidden."""
    return f"[bold {'yellow' if count else 'green'}]{count:,}[/]", what


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"
