"""`python -m fraud_assets.rollout`: who decides, and the steps of a rollout.

What scorers serve changes first and within a second; MLflow's registry is told afterwards, and `reconcile` tells it again.
Exit 0: done. 1: a rehearsal in which the guard did not do as it should. 2: the command or the settings are wrong. 3: refused, and the step is not taken. 4: `reconcile` could not tell
MLflow everything. The last line of standard error says why.
"""

import argparse
import sys
import time
from datetime import UTC, datetime

import msgspec

from fraud_assets.models.artifact import Champion, champion_of, open_artifact
from fraud_assets.models.manifest import RefusedModel
from fraud_assets.rollout.bounds import Limits
from fraud_assets.rollout.log import Entry, Overtaken, PromotionLog
from fraud_assets.rollout.machine import (
    HOUR_MS,
    Appoint,
    Archive,
    BeginAB,
    BeginShadow,
    Halt,
    Plan,
    Rollback,
    Rollout,
    Step,
    ToCanary,
    ToFull,
    allowed,
    due,
    kind,
)
from fraud_assets.rollout.pointer import follow
from fraud_assets.rollout.rehearsal import CANDIDATES, Traffic, rehearse
from fraud_assets.rollout.standing import standing
from fraud_assets.settings import BadSettings, Settings, read_settings

MAX_RATE = 10_000  # a look of it is a third of a million payments
AMISS, USAGE, REFUSED, UNTOLD = 1, 2, 3, 4


class TooEarly(ValueError):
    """A phase whose time is not over."""


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        settings = read_settings(Settings)
    except BadSettings as error:
        print(error, file=sys.stderr)
        return USAGE
    try:
        return _run(options, settings)
    except (ValueError, Overtaken, OSError) as refused:
        print(refused, file=sys.stderr)
        return REFUSED


def _run(options: argparse.Namespace, settings: Settings) -> int:
    log = PromotionLog(settings.model_dir)
    if options.command == "status":
        _print_status(follow(settings.model_dir), _now_ms())
    elif options.command == "log":
        for entry in log.entries():
            print(msgspec.json.encode(entry).decode() if options.json else _line(entry))
    elif options.command == "verify":
        print(f"{log.verify()} steps, each from the one before; the pointer follows the last")
    elif options.command == "rehearse":
        return 0 if _rehearsed(settings, options.per_second, options.seed) else AMISS
    elif options.command == "reconcile":
        _print_status(log.settle(_now_ms()), _now_ms())
        return 0 if _told(log, settings) else UNTOLD
    else:
        now_ms = _now_ms()
        seen = log.settle(now_ms)
        _print_status(log.move(seen, _step(options, settings, seen, now_ms)), now_ms)
        _told(log, settings)
    return 0


def _rehearsed(settings: Settings, per_second: float, seed: int) -> bool:
    found = [rehearse(name, Limits.of(settings), Traffic(per_second), seed) for name in CANDIDATES]
    for one in found:
        amiss = "" if one.as_it_should else "   NOT AS IT SHOULD BE"
        print(
            f"{one.candidate:<7} {CANDIDATES[one.candidate].what}\n"
            f"        {one.phase} after {one.canary_requests:,} canary requests"
            f" ({one.payments:,} payments, {one.looks} looks): {one.words}{amiss}"
        )
    return all(one.as_it_should for one in found)


def _step(options: argparse.Namespace, settings: Settings, seen: Rollout, now_ms: int) -> Step:
    _in_time(options, seen, now_ms)
    by_hand = {"source": "command line", "due": due(seen, now_ms) is not None}
    said = {"at_ms": now_ms, "who": options.who, "why": options.why, "evidence": by_hand}
    match options.command:
        case "appoint":
            return Appoint(**said, champion=_sound(settings, options.version))
        case "shadow":
            return BeginShadow(**said, challenger=_sound(settings, options.version), plan=Plan.of(settings))
        case "ab":
            named, share = _sound(settings, options.version), _share(options.share)
            return BeginAB(**said, challenger=named, share=share, plan=Plan.of(settings))
        case "canary":
            return ToCanary(**said, share=None if options.share is None else _share(options.share))
    ways: dict[str, type[ToFull | Halt | Rollback | Archive]] = {
        kind(way): way for way in (ToFull, Halt, Rollback, Archive)
    }
    return ways[options.command](**said)


def _in_time(options: argparse.Namespace, seen: Rollout, now_ms: int) -> None:
    """Raises TooEarly for the next phase before this one's time is over, unless the person says that it is meant."""
    waits = {("shadow", "canary"): seen.plan.shadow_ms, ("canary", "full"): seen.plan.canary_ms}
    wait_ms = waits.get((str(seen.phase), options.command), 0)
    if now_ms - seen.since_ms < wait_ms and not options.early:
        since, hours = _time(seen.since_ms), wait_ms / HOUR_MS
        raise TooEarly(
            f"TooEarly: {seen.phase} since {since}, and the plan gives it {hours:g} h. Wait, or say --early."
        )


def _sound(settings: Settings, version: str) -> Champion:
    """A version whose files are there and have their hashes; that it scores as it should, a scorer checks that loads it."""
    try:
        named = champion_of(settings.model_dir, version)
    except FileNotFoundError:
        raise RefusedModel("unreadable", f"{settings.model_dir} has no version {version}") from None
    open_artifact(settings.model_dir, named)
    return named


def _share(share: float) -> float:
    if not 0 < share < 1:
        raise ValueError(f"--share {share:g} is no share of accounts; write one between 0 and 1")
    return share


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= MAX_RATE:
        raise argparse.ArgumentTypeError(f"{text} is no rate from 0 to {MAX_RATE:,} payments a second")
    return rate


def _told(log: PromotionLog, settings: Settings) -> bool:
    """Whether MLflow says the same now. It takes seconds to import, and longer if it is down: scorers have followed by then."""
    sys.stdout.flush()
    from fraud_assets.stores.registry import RegistryDown, open_for_a_person

    try:
        with open_for_a_person(settings.mlflow_tracking_uri) as registry:
            found = registry.reconcile(standing(entry.rollout for entry in log.entries()))
    except RegistryDown as error:
        print(f"{error}. Scorers follow all the same; run `reconcile` once it is back.", file=sys.stderr)
        return False
    print("MLflow: " + (", ".join(found.changed) or "says so already"))
    if found.missing:
        print(f"MLflow does not have {', '.join(found.missing)}; register them and run `reconcile`.", file=sys.stderr)
    return not found.missing


def _print_status(rollout: Rollout, now_ms: int) -> None:
    print(f"step {rollout.sequence}, phase {rollout.phase} since {_time(rollout.since_ms)}")
    for name in ("champion", "challenger", "previous"):
        named: Champion | None = getattr(rollout, name)
        if named:
            share = f", decides for {rollout.share:.1%} of accounts" if name == "challenger" else ""
            print(f"  {name:<10} {named.version}  {named.manifest_sha256[:12]}{share}")
    ripe = due(rollout, now_ms)
    print(
        f"  allowed    {', '.join(kind(step) for step in allowed(rollout))}" + (f"; due: {kind(ripe)}" if ripe else "")
    )


def _line(entry: Entry) -> str:
    step, rollout = entry.step, entry.rollout
    who = rollout.champion.version if rollout.champion else "nobody"
    beside = f", {rollout.challenger.version} challenges" if rollout.challenger else ""
    return (
        f"{rollout.sequence:>4} {_time(step.at_ms)} {kind(step):<8} {who} is champion{beside}; {step.who}: {step.why}"
    )


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fraud_assets.rollout", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", help="who decides now, and what may follow")
    commands.add_parser("log", help="every step, by whom and why").add_argument("--json", action="store_true")
    commands.add_parser("verify", help="does each line of the log follow from the one before?")
    commands.add_parser("reconcile", help="finish what a crash left, and make MLflow say what the log says")
    rehearsal = commands.add_parser(
        "rehearse", help="are bad candidates halted in time, within the bounds of the settings?"
    )
    rehearsal.add_argument("--per-second", type=_rate, default=Traffic().per_second, help="payments (default 20)")
    rehearsal.add_argument("--seed", type=int, default=0)
    for name, help_text in {
        "appoint": "make VERSION champion at once, without a rollout: the first one",
        "shadow": "begin: VERSION scores everything and decides nothing",
        "canary": "the challenger decides for a share of accounts, or for a larger one",
        "full": "the challenger becomes champion",
        "ab": "begin: VERSION decides for a share of accounts until somebody ends it",
        "halt": "the challenger goes; after full, the champion before comes back",
        "rollback": "the newest thing goes: a running challenger, or else the newest champion",
        "archive": "close the books of an ended rollout",
    }.items():
        command = commands.add_parser(name, help=help_text)
        if name in ("appoint", "shadow", "ab"):
            command.add_argument("version")
        if name in ("canary", "ab"):
            command.add_argument("--share", type=float, required=name == "ab", help="of accounts, such as 0.05")
        if name in ("canary", "full"):
            command.add_argument("--early", action="store_true", help="though the plan gives this phase more time")
        command.add_argument("--who", required=True, help="who does this; it stays in the log")
        command.add_argument("--why", required=True, help="and why")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
