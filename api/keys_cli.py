"""`python -m api keys`: make a key, take one in, list them, end one. The running scorers follow the file within a second."""

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from api.access import Scope
from api.keys import ApiKey, BadKeys, adopt_key, end_key, make_key, now_utc, read_keys, write_keys

DAYS = 365


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its verbs."""
    keys = commands.add_parser("keys", help="make, take in, list and end API keys")
    verbs = keys.add_subparsers(dest="verb", required=True)
    new = verbs.add_parser("new", help="make a key and print it, once")
    new.add_argument("--client", required=True, help="whom it is for; a client may have several live keys")
    new.add_argument("--scope", required=True, nargs="+", type=Scope, choices=list(Scope), help="what it is good for")
    new.add_argument("--days", type=int, default=DAYS, help=f"how long it is good ({DAYS}); 0: until it is ended")
    new.add_argument("--rate", type=int, help="transactions or labels a second; FRAUD_API_RATE_PER_S if not given")
    adopt = verbs.add_parser(
        "adopt", help="let in keys that are secrets of files, each called as its file; again changes nothing"
    )
    adopt.add_argument("files", nargs="+", type=_scope_and_file, metavar="SCOPE=FILE")
    verbs.add_parser("list", help="say whose keys there are, and until when")
    revoke = verbs.add_parser("revoke", help="end a key now")
    revoke.add_argument("id")


def run(chosen: argparse.Namespace, path: Path) -> None:
    """Ends the process with one line if the file is none."""
    try:
        if chosen.verb == "new":
            _new(path, chosen)
        elif chosen.verb == "adopt":
            _adopt(path, chosen.files)
        elif chosen.verb == "revoke":
            ended = end_key(path, chosen.id, now_utc())
            print(f"{ended.id} of {ended.client} is ended")
        else:
            for key in read_keys(path):
                print(_line(key))
    except BadKeys as error:
        sys.exit(str(error))


def _new(path: Path, chosen: argparse.Namespace) -> None:
    now, scopes = now_utc(), list(dict.fromkeys(chosen.scope))
    not_after = now + timedelta(days=chosen.days) if chosen.days > 0 else None
    made = make_key(chosen.client, scopes, now, not_after, chosen.rate)
    write_keys(path, [*read_keys(path), made.key])
    print(made.credential)
    print(f"for {_line(made.key)}; it is shown this once, {path} keeps its SHA-256", file=sys.stderr)


def _scope_and_file(given: str) -> tuple[Scope, Path]:
    scope, _, file = given.partition("=")
    return Scope(scope), Path(file)


def _adopt(path: Path, files: list[tuple[Scope, Path]]) -> None:
    for scope, file in files:
        try:
            credential = file.read_text().strip()
        except OSError as error:
            raise BadKeys(f"BadKeys: {file}: {error.strerror}") from None
        print(_line(adopt_key(path, file.name, scope, credential, now_utc())))


def _line(key: ApiKey) -> str:
    until = f"until {key.not_after:%Y-%m-%d %H:%M} UTC" if key.not_after else "until it is ended"
    state = until if key.is_live(now_utc()) else f"ended {key.not_after:%Y-%m-%d %H:%M} UTC"
    return f"{key.id:<16} {key.client:<24} {','.join(key.scopes):<20} {state}"
