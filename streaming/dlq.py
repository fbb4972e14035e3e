"""`python -m streaming dlq`: look at what the worker refused, and send it again once its cause is mended.

Exit codes: 0 done; 1 something was not replayed, and is listed with its reason; 2 a wrong call; 3 no broker answers.
"""

import base64
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fraud_assets.settings import BadSettings, read_settings
from streaming.core.dead_letters import Letter, NotALetter, Replays, Wanted, one_of_each, printable, why_not
from streaming.edges.dead_letters import BrokerAway, Letters, NoSuchLetter
from streaming.settings import WorkerSettings

NOT_ALL, AWAY = 1, 3
SHOWN_BYTES = 4096  # of a value on a terminal; --json has all of it
PIPED_COLUMNS = 240
UNIT_S = {"m": 60, "h": 3600, "d": 86_400}
_AGO = re.compile(r"(\d{1,5})([mhd])")
_NAME = re.compile(r"(?:(\d{1,9})/)?(\d{1,18})")

app = typer.Typer(no_args_is_help=True, add_completion=False, help=(__doc__ or "").partition(": ")[2])
# Into a pipe or a file a line is a line, however narrow the terminal behind it.
console = Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)
errors = Console(stderr=True)

Reason = Annotated[str | None, typer.Option(help="As `list` shows it, for example unknown_field.")]
FromTopic = Annotated[str | None, typer.Option("--topic", help="The topic it was refused from.")]
Since = Annotated[str | None, typer.Option(help="Refused since: 90m, 12h, 3d ago, or YYYY-MM-DD[THH:MM] UTC.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, one object a line.")]


@contextmanager
def opened() -> Iterator[Letters]:
    """The broker of the settings; what is wrong with it, or with the call, ends the command with one line."""
    letters = None
    try:
        settings = read_settings(WorkerSettings)
        letters = Letters(settings.kafka_bootstrap_servers, settings.replication_factor)
        yield letters
    except BadSettings as error:
        raise typer.BadParameter(str(error), param_hint="the environment") from None
    except (NoSuchLetter, NotALetter) as error:
        raise typer.BadParameter(str(error)) from None
    except BrokerAway as error:
        errors.print(Text(f"{error}. Is it started, and is KAFKA_BOOTSTRAP_SERVERS its address?"))
        raise typer.Exit(AWAY) from None
    finally:
        if letters is not None:
            letters.close()


@app.command("list")
def list_letters(
    reason: Reason = None,
    topic: FromTopic = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first; neither keys nor values."""
    wanted = Wanted(reason, topic, _since_ms(since))
    with opened() as letters:
        found, strangers = letters.find(wanted)
        replays = letters.replays()
    shown = found[-limit:]
    if as_json:
        for letter in shown:
            _echo_json(_summary(letter, replays))
        return
    _print_table(shown, replays)
    console.print(f"{len(found)} dead letters" + (f", the newest {limit} shown" if len(found) > limit else ""))
    if strangers:
        console.print(f"{strangers} records of the topic are no worker's, and left out")


@app.command()
def show(
    letter: Annotated[str, typer.Argument(help="PARTITION/OFFSET as `list` shows it; OFFSET alone means partition 0.")],
    as_json: AsJson = False,
) -> None:
    """Show one whole letter: the refused record's bytes and headers.

    They are what the sender wrote. Our own producers write tokens for cards, e-mails and IP addresses; a foreign
    one may have written anything, so mind who reads along. What a terminal might obey is escaped.
    """
    with opened() as letters:
        found = letters.one(*_parsed(letter))
        replays = letters.replays()
    if as_json:
        own = [{"name": name, "value_base64": _base64(value)} for name, value in found.headers]
        whole = {"key_base64": _base64(found.key), "value_base64": _base64(found.value), "headers": own}
        _echo_json({**_summary(found, replays), **whole})
        return
    for name, said in _summary(found, replays).items():
        console.print(Text.assemble((f"{name:<20}", "bold"), str(said)))
    for name, value in found.headers:
        console.print(Text.assemble((f"{'header':<20}", "bold"), f"{printable(name.encode())}: {printable(value)}"))
    console.print(Text.assemble((f"{'key':<20}", "bold"), printable(found.key)))
    value = found.value or b""
    console.print(Text(printable(value[:SHOWN_BYTES])), soft_wrap=True)
    if len(value) > SHOWN_BYTES:
        console.print(f"… {len(value) - SHOWN_BYTES} bytes more; --json has all")


@app.command()
def replay(
    chosen: Annotated[list[str] | None, typer.Argument(metavar="[LETTER]...", help="As for `show`.")] = None,
    reason: Reason = None,
    topic: FromTopic = None,
    since: Since = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send. Without it, say what would be sent.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
) -> None:
    """Send refused records to their topic again, with key and headers as they were and the header `replay_of`.

    Give letters or a filter. The worker's verdict is the one of a new arrival: an identity that it accepted within
    the dedupe horizon is a duplicate. What this version would refuse again is not sent.
    """
    wanted = Wanted(reason, topic, _since_ms(since))
    if bool(chosen) == (wanted != Wanted()):
        raise typer.BadParameter("give either letters, or --reason, --topic, --since")
    places = [_parsed(name) for name in chosen or ()]
    with opened() as letters:
        found = [letters.one(*place) for place in places] if places else letters.find(wanted)[0]
        found = one_of_each(found)
        replays = letters.replays()
        now_ms, settings = time.time_ns() // 1_000_000, read_settings(WorkerSettings)
        held = {
            letter.name: why
            for letter in found
            if (
                why := why_not(letter, now_ms, settings.dedupe_horizon_ms, settings.cards_in_ids)
                or (None if again else replays.why_not(letter))
            )
        }
        good = [letter for letter in found if letter.name not in held]
        sent = {letter.name for letter in letters.replay(good)} if yes and good else set()
    for letter in good:
        if yes and letter.name not in sent:
            held[letter.name] = "somebody else is replaying it at this moment"
    _print_outcome(found, held, sent)
    if not yes:
        errors.print(f"nothing was sent; --yes sends {len(good)}")
        raise typer.Exit(2)
    if held:
        raise typer.Exit(NOT_ALL)


def _print_outcome(found: list[Letter], held: dict[str, str], sent: set[str]) -> None:
    for letter in found:
        did = held.get(letter.name) or (f"sent to {letter.source_topic}" if letter.name in sent else "may be sent")
        console.print(Text(f"{letter.name:<12} {letter.reason}: {did}"), soft_wrap=True)
    console.print(f"{len(sent)} replayed, {len(held)} not")


def _print_table(letters: list[Letter], replays: Replays) -> None:
    table = Table("letter", "refused at (UTC)", "reason", "field", "from", "offset", "bytes", "replay")
    for letter in letters:
        table.add_row(
            letter.name,
            f"{_time(letter.refused_at_ms):%Y-%m-%d %H:%M:%S}",
            Text(letter.reason),
            Text(printable(letter.field.encode())),
            Text(f"{letter.source_topic}/{letter.source_partition}"),
            str(letter.source_offset),
            str(len(letter.value or b"")),
            replays.step(letter) or "",
        )
    console.print(table)


def _summary(letter: Letter, replays: Replays) -> dict[str, Any]:
    return {
        "letter": letter.name,
        "refused_at": _time(letter.refused_at_ms).isoformat(timespec="milliseconds"),
        "reason": letter.reason,
        "field": printable(letter.field.encode()),
        "detail": printable(letter.detail.encode()),
        "source_topic": letter.source_topic,
        "source_partition": letter.source_partition,
        "source_offset": letter.source_offset,
        "source_at": _time(letter.source_timestamp_ms).isoformat(timespec="milliseconds"),
        "bytes": len(letter.value or b""),
        "replay": replays.step(letter) or "",
    }


def _echo_json(said: dict[str, Any]) -> None:
    typer.echo(msgspec.json.encode(said).decode())


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _parsed(name: str) -> tuple[int, int]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise typer.BadParameter(f"{name!r} names no letter; write PARTITION/OFFSET, as `list` shows it")
    return int(found[1] or 0), int(found[2])


def _since_ms(since: str | None) -> int | None:
    if since is None:
        return None
    if ago := _AGO.fullmatch(since):
        return time.time_ns() // 1_000_000 - 1000 * int(ago[1]) * UNIT_S[ago[2]]
    try:
        return int(datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise typer.BadParameter("write 90m, 12h, 3d, or YYYY-MM-DDTHH:MM", param_hint="--since") from None
