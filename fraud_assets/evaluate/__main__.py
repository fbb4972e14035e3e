"""`python -m fraud_assets.evaluate`: the Handbook's protocol on any mapped data set.

One JSON line per configuration on standard output; progress, faults and the table of an ablation on standard error.
"""

import argparse
import datetime as dt
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.evaluate.bar import progress_bar
from fraud_assets.evaluate.history import History, load_history
from fraud_assets.evaluate.ideas import arms_of
from fraud_assets.evaluate.measure import Measures, ablation
from fraud_assets.evaluate.run import METRICS, Floats32, configurations, features_of, rows_needed, run
from fraud_assets.ingest.mapping import BadMapping
from fraud_assets.ingest.mapping_file import load_mapping
from fraud_assets.ingest.read import UnreadableFile
from fraud_assets.ingest.told import told
from fraud_assets.settings import BadSettings, Settings, read_settings
from fraud_assets.training.protocol import EmptyFold, Fold

MOST = 36_500  # days: a century is no protocol, and a larger number a slip
EXPORTED = re.compile(r"part-\d+\.parquet")


class NoRows(ValueError):
    """A file without a transaction to measure on."""


def main(arguments: list[str] | None = None) -> int:
    """0 with one line per configuration, 2 if the file, the mapping or the dates cannot be used."""
    options = _parse(arguments)
    console = Console(stderr=True)

    def run() -> int:
        settings = read_settings(Settings)
        key = TokenKey.of_settings(settings)
        name, mapping = load_mapping(options.mapping)
        with progress_bar(console) as bar:
            bar.add_task("reading and checking", total=None)
            history = load_history(mapping, options.data, options.profiles, options.delay_days, key)
            _evaluate(options, name, history, bar)
        return 0

    faults = (BadMapping, UnreadableFile, EmptyFold, NoRows, BadSettings)
    return told(run, faults, "--export-features a name", console)


def _evaluate(options: argparse.Namespace, name: str, history: History, bar: Progress) -> None:
    console, task = bar.console, bar.task_ids[0]

    def say(text: str) -> None:
        bar.update(task, description=text)

    if history.rejected:
        console.print(f"{history.rejected:,} rows were rejected; `python -m fraud_assets.ingest` says which and why")
    if history.unread:
        service = history.service.service.name
        console.print(
            f"{service} reads no {', '.join(history.unread)}: those profiles change no figure", soft_wrap=True
        )
    if not len(history.time_ms):
        raise NoRows(f"NoRows: {options.data} holds no transaction that can be used.")
    first, last = (_day(int(time_ms)) for time_ms in (history.time_ms.min(), history.time_ms.max()))
    console.print(f"{len(history.time_ms):,} transactions from {first} to {last}", highlight=False)
    fold = Fold(
        train_start_ms=_midnight_ms(options.train_start),
        train_days=options.train_days[0],
        delay_days=options.delay_days,
        test_days=options.test_days,
    )
    runs = configurations(fold, options.folds, options.train_days)
    needed = rows_needed(history, runs)
    features = features_of(history, needed, say, options.export_features)
    if options.export_features is not None:
        console.print(
            f"{len(history.time_ms):,} vectors of {features.shape[1]} features written to {options.export_features}"
        )

    def measures(label: str, folds: Sequence[Fold], columns: Floats32) -> Measures:
        outcome = run(history, label, folds, needed, columns, say)
        print(json.dumps(outcome.as_json()), flush=True)
        return outcome.measures

    for folds, days in zip(runs, options.train_days, strict=True):
        label = f"{name}-{days}d"
        if not options.ablate:
            measures(label, folds, features)
            continue
        arms = bar.track(arms_of(history.service.service, history.service.names), task_id=task)
        reached = [(arm, measures(f"{label} {arm.name}", folds, features[:, arm.columns])) for arm in arms]
        console.print(f"{label}:\n{ablation(reached, METRICS)}", markup=False, highlight=False, soft_wrap=True)


def _day(time_ms: int) -> dt.date:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).date()


def _midnight_ms(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days * DAY_MS


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fraud_assets.evaluate", description="Train, wait for the labels, test; week by week."
    )
    parser.add_argument("--mapping", required=True, help="a TOML file, or handbook or sparkov")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help="CSV or Parquet file of transactions")
    parser.add_argument(
        "--profiles",
        type=Path,
        metavar="DIR",
        help="folder with the mapping's profile files, for its `service_with_profiles`",
    )
    parser.add_argument(
        "--train-start",
        required=True,
        type=_date,
        metavar="DATE",
        help="first day of the first training period",
    )
    parser.add_argument(
        "--train-days", type=_days, nargs="+", default=[7], metavar="N",
        help="length of the training period; further numbers are measured on the same test weeks,"
        " training on that many days that end where the first period ends",
    )  # fmt: skip
    parser.add_argument("--delay-days", type=_delay, default=7, metavar="N", help="days until a label is known")
    parser.add_argument("--test-days", type=_days, default=7, metavar="N")
    parser.add_argument("--folds", type=_days, default=1, metavar="N", help="folds, each a week after the one before")
    parser.add_argument(
        "--export-features", type=_export, metavar="FILE", help="also write the vectors of every transaction (Parquet)"
    )
    parser.add_argument(
        "--ablate",
        action="store_true",
        help="measure what each idea of the feature service adds, and what it lacks without it",
    )
    return parser.parse_args(arguments)


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write YYYY-MM-DD") from None


def _number(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,9}", text) or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number up to {MOST:,}")
    return int(text)


def _days(text: str) -> int:
    days = _number(text)
    if days < 1:
        raise argparse.ArgumentTypeError(f"{days} is not at least 1")
    return days


def _delay(text: str) -> int:
    days = _number(text)
    if days < 0:
        raise argparse.ArgumentTypeError(f"{days} is below 0: a label is not known before its transaction")
    return days


def _export(text: str) -> Path:
    """A new name, or an export of before: whatever else is in a folder would be replaced with it."""
    path = Path(text)
    if path.is_dir() and (
        path.suffix == ".parquet" or not all(EXPORTED.fullmatch(item.name) for item in path.iterdir())
    ):
        raise argparse.ArgumentTypeError(f"{text} is a folder that holds something else; write a new name")
    return path


if __name__ == "__main__":
    sys.exit(main())
