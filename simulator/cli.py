"""The simulator's command line: `history`, `run`, `realism` and `list`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from fraud_assets.contracts.tokens import BadTokenKey, TokenKey
from fraud_assets.settings import BadSettings, Settings, read_settings
from simulator.faults import NoFaults
from simulator.figures import figures_of
from simulator.history import HistorySummary, write_history
from simulator.labels import Pace
from simulator.metrics import RunMetrics, listed, metrics_of
from simulator.report import write_report
from simulator.results import RunResult, write_jsonl, write_result
from simulator.run import BadTarget, BadWorld, RunRequest, run_scenario
from simulator.rush import Rush
from simulator.scenarios.registry import SCENARIOS, UnknownScenario
from simulator.scenarios.tolerances import Judged, Kept, judged
from simulator.script import BadRecording
from simulator.spec import DAY_MS, MAX_SEED, MIN_ACCOUNTS, WorldSpec, default_accounts

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A seeded world of ticket buyers and thieves.")
console = Console()

# Contracts take times from 1970 to 2100; accounts are years older than their world, labels weeks younger.
FIRST_DAY, LAST_DAY = datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)

REALISM_FIRST_MS = 20_546 * DAY_MS  # a Friday; which year it is changes nothing


def environment() -> tuple[Settings, TokenKey]:
    """The settings, and the key both edges of the platform use."""
    try:
        settings = read_settings(Settings)
        return settings, TokenKey.of_settings(settings)
    except BadSettings as error:
        raise typer.BadParameter(str(error), param_hint="the environment") from None
    except BadTokenKey as error:
        raise typer.BadParameter(str(error), param_hint="FRAUD_TOKEN_KEY, FRAUD_TOKEN_KEY_ID") from None


@contextmanager
def told(where: str) -> Iterator[None]:
    """What the machine refuses ends the command with one line that names the option."""
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(f"cannot write: {error}", param_hint=where) from None
    except MemoryError:
        raise typer.BadParameter("that many purchases do not fit into memory", param_hint="--days, --rate") from None


LABEL_WEEK = "Seconds within which as many chargebacks come as in a week elsewhere; other labels as much sooner."


@app.command()
def history(
    days: Annotated[int, typer.Option(min=1, max=3_650, help="Whole days (UTC) of history.")] = 30,
    rate: Annotated[int, typer.Option(min=1, max=10_000_000, help="Purchases per day, on average.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Same seed and --until, same bytes.")] = 7,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder of the lake; by default the settings' lake.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Its end: a day (YYYY-MM-DD, midnight UTC) or `now`; by default today.")
    ] = None,
    accounts: Annotated[int | None, typer.Option(min=MIN_ACCOUNTS, max=10_000_000, help="People in the world.")] = None,
    label_week: Annotated[float | None, typer.Option(min=1, help=LABEL_WEEK)] = None,
    everyday_fraud: Annotated[
        float, typer.Option(min=0, max=0.5, help="Taken-over accounts and stolen cards, share of purchases.")
    ] = 0.005,
    rush_minutes: Annotated[
        float, typer.Option(min=0, max=1_440, help="The last minutes before --until at the rate of a live run.")
    ] = 0.0,
    rush_rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Purchases per second of them.")] = 20.0,
    rush_attacks: Annotated[bool, typer.Option(help="With card testing among them.")] = False,
) -> None:
    """Write past days to the lake; the truth goes to the folder `truth` beside it."""
    settings, key = environment()
    rush = Rush(rush_minutes, rush_rate, rush_attacks) if rush_minutes else None
    end_ms = _end_ms(until) - (rush.duration_ms if rush else 0)
    start_ms = -(-end_ms // DAY_MS) * DAY_MS - days * DAY_MS
    if start_ms < FIRST_DAY.timestamp() * 1000 or end_ms > LAST_DAY.timestamp() * 1000:
        raise typer.BadParameter("a history lies between the years 2000 and 2099", param_hint="--until, --days")
    spec = WorldSpec(
        seed=seed,
        start_ms=start_ms,
        until_ms=None if end_ms % DAY_MS == 0 else end_ms,
        days=days,
        rate_per_day=rate,
        accounts=accounts or default_accounts(days, rate),
        takeover_share=0.6 * everyday_fraud,
        stolen_share=0.4 * everyday_fraud,
    )
    if out is None and "://" in settings.lake_uri:
        raise typer.BadParameter(
            f"a history is written to a folder; name one, and copy it to {settings.lake_uri}", param_hint="--out"
        )
    lake = out or Path(settings.lake_uri)
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with told("--out"), Progress(*columns, console=console) as progress:
        task = progress.add_task("days of history", total=days)
        summary = write_history(
            spec,
            lake,
            key,
            lambda day: progress.update(task, completed=day + 1),
            pace=_pace(label_week) or Pace(),
            rush=rush,
        )
    _print_summary(summary)


def _pace(label_week: float | None) -> Pace | None:
    return None if label_week is None else Pace.of_week(label_week * 1_000)


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


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A name that `list` shows.")],
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="Purchases per second, attack included.")] = 50.0,
    duration: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds.")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Same world, seed and start: same purchases.")] = 7,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime",
            help="People come at their own hours, by the clock and the day of the week; --rate is then the mean of a day.",
        ),
    ] = False,
    target: Annotated[str, typer.Option(help="api, kafka, or both.")] = "api,kafka",
    api_url: Annotated[str, typer.Option(help="Where POST /predict is.")] = "http://127.0.0.1:8000",
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with its key; by default the one that `make up` made.")
    ] = None,
    world: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="World file of a history; by default beside the lake."),
    ] = None,
    results: Annotated[Path | None, typer.Option(dir_okay=False, help="JSON lines, one per purchase.")] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="HTML report.")] = None,
    label_week: Annotated[float | None, typer.Option(min=1, help=LABEL_WEEK)] = None,
    labels_to: Annotated[str, typer.Option(help="kafka, or api: labels go to POST /labels.")] = "kafka",
    whole: Annotated[Path | None, typer.Option(dir_okay=False, help="The run as one JSON document, if wanted.")] = None,
    level: Annotated[float | None, typer.Option(min=0, max=1, help="How far the world moves, for drift.")] = None,
    weight: Annotated[list[str] | None, typer.Option(help="NAME=PART, again for each part of a mix.")] = None,
    faults: Annotated[str, typer.Option(help="Where the fault proxy takes orders, for system-degradation.")] = "",
    log: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="What `run --record` wrote, for replay.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Where to write what was done, to be replayed.")
    ] = None,
    judge: Annotated[bool, typer.Option(help="End with 1 if a tolerance of the scenario is broken.")] = True,
) -> None:
    """Drive live traffic; arrivals do not wait for answers. Ends with 1 if a tolerance of the scenario is broken."""
    settings, key = environment()
    if realtime and log is not None:
        raise typer.BadParameter("a recording has hours of its own", param_hint="--realtime, --log")
    folder = settings.var_dir / "simulator"
    results = results or folder / f"{scenario}-{seed}.jsonl"
    report = report or folder / f"{scenario}-{seed}.html"
    with told("--results, --report, --whole, --record"):  # before minutes of traffic, not after them
        for path in (results, report, whole, record):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
    request = RunRequest(
        scenario=scenario,
        rate_per_s=rate,
        duration_s=duration,
        seed=seed,
        realtime=realtime,
        targets=tuple(part.strip() for part in target.split(",") if part.strip()),
        api_url=api_url,
        api_key_file=api_key_file or settings.var_dir / "api" / "key",
        bootstrap=settings.kafka_bootstrap_servers,
        world=world or Path(settings.lake_uri).parent / "truth" / "world.json",
        pace=_pace(label_week),
        labels_to=labels_to,
        level=level,
        weights=_weights(weight or []),
        faults_url=faults,
        log=log,
        record=record,
    )
    result = _run_watched(request, key)
    with told("--results, --report, --whole, --record"):
        write_jsonl(result, results)
        if whole is not None:
            write_result(result, whole)
        page = write_report(result, report)
    metrics = metrics_of(result)
    _print_metrics(metrics)
    verdicts = judged(result.tolerances, figures_of(result, metrics))
    _print_verdicts(verdicts)
    console.print(f"results → {results}\nreport → {page}")
    if judge and any(one.kept is Kept.NO for one in verdicts):
        raise typer.Exit(1)


def _weights(given: list[str]) -> dict[str, float]:
    found = {}
    for one in given:
        name, _, part = one.partition("=")
        try:
            found[name] = float(part)
        except ValueError:
            found[name] = -1.0
        if not 0 < found[name] < float("inf"):
            raise typer.BadParameter(f"write {name}=1, or another part above 0", param_hint="--weight")
    return found


def _expected(request: RunRequest) -> int | None:
    """Purchases; not known before the run where the hour decides, or a recording."""
    known = not request.realtime and request.log is None
    return int(request.rate_per_s * request.duration_s) if known else None


def _run_watched(request: RunRequest, key: TokenKey) -> RunResult:
    """With a progress bar; what is wrong with the request ends the command with one line."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[live]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(request.scenario, total=_expected(request), live="")

        def on_tick(due: int, answered: int, in_flight: int) -> None:
            progress.update(task, completed=answered, live=f"due {due:,} · unanswered {in_flight:,}")

        try:
            return run_scenario(request, key, on_tick)
        except (BadRecording, BadTarget, BadWorld, NoFaults, UnknownScenario) as error:
            raise typer.BadParameter(str(error)) from None
        except KafkaException as error:
            raise typer.BadParameter(
                f"no broker answers at {request.bootstrap} ({error.args[0].str()}). Start one (make up), set"
                " KAFKA_BOOTSTRAP_SERVERS, or write --target api.",
                param_hint="--target",
            ) from None
        except MemoryError:
            raise typer.BadParameter(
                "that many purchases do not fit into memory", param_hint="--rate, --duration"
            ) from None


@app.command()
def realism(
    data: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of handbook/ and sparkov/; by default FRAUD_DATA_DIR."),
    ] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="HTML report.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED)] = 7,
    days: Annotated[int, typer.Option(min=7, max=365, help="Days of the world that is compared.")] = 60,
    rate: Annotated[int, typer.Option(min=100, help="Purchases per day.")] = 5_000,
) -> None:
    """Compare a world with the Handbook's and Sparkov's payments; a JSON line on standard output."""
    from simulator.realism import as_json, compared  # SciPy's second, for which nobody else should wait
    from simulator.realism_page import realism_page
    from simulator.reference import NoReference, ours, references

    settings, _ = environment()
    report = report or settings.var_dir / "simulator" / "realism.html"
    spec = WorldSpec(
        seed=seed, start_ms=REALISM_FIRST_MS, days=days, rate_per_day=rate, accounts=default_accounts(days, rate)
    )
    try:
        others = references(data or settings.data_dir)
    except NoReference as error:
        raise typer.BadParameter(str(error), param_hint="--data") from None
    world = ours(spec)
    lines = compared(world, others)
    with told("--report"):
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(realism_page(world, others, lines), encoding="utf-8")
    print(json.dumps(as_json(world, others, lines)))
    Console(stderr=True).print(f"report → {report}")


@app.command("list")
def list_scenarios() -> None:
    """Name the scenarios of `run`."""
    for scenario in SCENARIOS.values():
        console.print(f"[bold]{scenario.name:<16}[/] {scenario.summary}")


def _print_metrics(metrics: RunMetrics) -> None:
    latency, attack = metrics.latency_ms, metrics.attack
    console.print(
        f"[bold]{metrics.decisions:,}[/] decisions ({metrics.decisions_per_s:,.1f}/s of {metrics.offered_per_s:,.1f}/s due), "
        f"latency ms p50 {latency.p50} p95 {latency.p95} p99 {latency.p99}"
    )
    console.print(
        f"attack: recall {attack.recall}, precision {attack.precision}; honest flagged {metrics.honest_flagged}"
    )
    if not metrics.held_rate:
        console.print(f"[red]rate not held[/]: no decision {listed(metrics.unanswered) or 0}")


_COLOUR = {Kept.YES: "green", Kept.NO: "bold red", Kept.UNMEASURED: "dim"}


def _print_verdicts(verdicts: list[Judged]) -> None:
    if not verdicts:
        return
    table = Table("tolerance", "has to be", Column("was", justify="right"), "", box=None, pad_edge=False)
    for one in verdicts:
        table.add_row(one.figure, one.bound, one.was, f"[{_COLOUR[one.kept]}]{one.kept}[/]")
    console.print(table)


def _print_summary(summary: HistorySummary) -> None:
    share = summary.fraud / max(summary.transactions, 1)
    console.print(
        f"[bold]{summary.transactions:,}[/] transactions, {summary.activity:,} activity, {summary.profiles:,} profiles, "
        f"{summary.labels:,} labels ({summary.labels_pending:,} not known yet) → {summary.lake}"
    )
    console.print(f"truth ({summary.fraud:,} frauds, {share:.2%}; {summary.campaigns:,} campaigns) → {summary.truth}")
