"""The simulator's command line: `history`, `run` and `list`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.settings import Settings
from simulator.history import HistorySummary, write_history
from simulator.spec import DAY_MS, WorldSpec, default_accounts

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A seeded world of ticket buyers and thieves.")
console = Console()


def token_key(settings: Settings) -> TokenKey:
    """The key both edges of the platform use."""
    return TokenKey.of(settings.token_key_id, settings.token_key.get_secret_value())


@app.command()
def history(
    days: Annotated[int, typer.Option(min=1, help="Whole days (UTC) of history.")] = 30,
    rate: Annotated[int, typer.Option(min=1, help="Purchases per day, on average.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Same seed and --until, same bytes.")] = 7,
    out: Annotated[Path | None, typer.Option(help="Folder of the lake; by default the settings' lake.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Its end: a day (YYYY-MM-DD, midnight UTC) or `now`; by default today.")
    ] = None,
    accounts: Annotated[int | None, typer.Option(min=100, help="People in the world.")] = None,
) -> None:
    """Write past days to the lake; the truth goes to the folder `truth` beside it."""
    settings = Settings()
    end_ms = _end_ms(until)
    start_ms = -(-end_ms // DAY_MS) * DAY_MS - days * DAY_MS
    spec = WorldSpec(
        seed=seed,
        start_ms=start_ms,
        until_ms=None if end_ms % DAY_MS == 0 else end_ms,
        days=days,
        rate_per_day=rate,
        accounts=accounts or default_accounts(days, rate),
    )
    with Progress(
        TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        task = progress.add_task("days of history", total=days)
        lake = out or Path(settings.lake_uri)
        summary = write_history(spec, lake, token_key(settings), lambda day: progress.update(task, completed=day + 1))
    _print_summary(summary)


def _end_ms(until: str | None) -> int:
    """Midnight UTC of the given day or of today, or this minute."""
    now_ms = int(datetime.now(UTC).timestamp()) // 60 * 60_000
    if until == "now":
        return now_ms
    if until is None:
        return now_ms // DAY_MS * DAY_MS
    try:
        return int(datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000
    except ValueError:
        raise typer.BadParameter("write a day as YYYY-MM-DD, or now", param_hint="--until") from None


@app.command("list")
def list_scenarios() -> None:
    """Name the scenarios of `run`."""
    for name in ("normal-traffic", "card-testing"):
        console.print(name)


def _print_summary(summary: HistorySummary) -> None:
    share = summary.fraud / max(summary.transactions, 1)
    console.print(
        f"[bold]{summary.transactions:,}[/] transactions, {summary.activity:,} activity, {summary.profiles:,} profiles, "
        f"{summary.labels:,} labels ({summary.labels_pending:,} not known yet) → {summary.lake}"
    )
    console.print(f"truth ({summary.fraud:,} frauds, {share:.2%}; {summary.campaigns:,} campaigns) → {summary.truth}")
