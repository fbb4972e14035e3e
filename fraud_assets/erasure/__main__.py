"""`python -m fraud_assets.erasure --account ID`: a person out of lake, store and database, and a receipt.

Exit 0: erased, nothing was left, or a dry run. 2: the command or the settings are wrong. 3: it could not be finished; repeat it, and it goes on.
"""

import argparse
import getpass
import re
import sys
import time

import msgspec
import psycopg
import redis

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.erasure.erase import Asked, Places, StillThere, erase, look
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.settings import BadSettings, DatabaseSettings, read_settings
from fraud_assets.stores.lake import BusyDay
from fraud_assets.stores.online_port import StoreUnavailable
from fraud_assets.stores.parquet import NewerFile
from fraud_assets.stores.receipts import BrokenReceipts, ReceiptTaken

USAGE, UNFINISHED = 2, 3
UNANSWERED = (
    StillThere,
    BusyDay,
    NewerFile,
    StoreUnavailable,
    ReceiptTaken,
    BrokenReceipts,
    redis.RedisError,
    OSError,
)


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        settings = read_settings(DatabaseSettings)
    except BadSettings as error:
        print(error, file=sys.stderr)
        return USAGE
    if re.search(rf"(?<!\w){re.escape(options.account)}(?!\w)", f"{options.reason} {options.by}"):
        print("the reason, or who asks, names the account: a receipt is kept, and must not", file=sys.stderr)
        return USAGE
    places = _places(settings, has_store=not options.without_store)
    if not places.database_url and not options.without_database:
        print(
            "DATABASE_URL is empty: set it, or say --without-database if decisions go to no PostgreSQL", file=sys.stderr
        )
        return USAGE
    try:
        return _run(options, places)
    except UNANSWERED as error:
        print(error, file=sys.stderr)
    except psycopg.Error as error:  # its text may name the address, with the password
        print(f"PostgreSQL: {type(error).__name__}", file=sys.stderr)
    return UNFINISHED


def _run(options: argparse.Namespace, places: Places) -> int:
    if options.dry_run:
        found = look(places, options.account)
        print(*(f"{count:>8,}  {place}" for place, count in sorted(found.items())), sep="\n", end="\n" if found else "")
        print("nothing was changed" if found else "nothing is there")
        return 0
    done = erase(places, Asked(options.account, options.reason, options.by), lambda: time.time_ns() // 1_000_000)
    print(
        "nothing is left, so nothing was done"
        if done is None
        else msgspec.json.format(msgspec.json.encode(done)).decode()
    )
    return 0


def _places(settings: DatabaseSettings, *, has_store: bool) -> Places:
    return Places(
        lake_uri=settings.lake_uri,
        redis_url=settings.redis_url if has_store else "",
        online_store_url=settings.online_store_url if has_store else "",
        database_url=settings.database_url.get_secret_value(),
        registry=registry(),
        key=TokenKey.of_settings(settings),
        dedupe_horizon_ms=settings.dedupe_horizon_ms,
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fraud_assets.erasure", description="Erase a person (docs/security.md)."
    )
    parser.add_argument("--account", required=True, help="the account_id, as its payments have it")
    parser.add_argument(
        "--reason",
        default="asked for",
        help="for the receipt, such as the number of a request; must not name the person",
    )
    parser.add_argument("--by", default=getpass.getuser(), help="who erases, for the receipt; the user by default")
    parser.add_argument("--dry-run", action="store_true", help="count what there is, and change nothing")
    parser.add_argument("--without-store", action="store_true", help="there is no online store; the receipt says so")
    parser.add_argument("--without-database", action="store_true", help="there is no PostgreSQL; the receipt says so")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
