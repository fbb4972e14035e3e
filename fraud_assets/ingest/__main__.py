"""`python -m fraud_assets.ingest --mapping handbook.toml TRANSACTIONS.parquet`: bring your own data."""

import argparse
import sys
import time
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table as RichTable

from fraud_assets.contracts.events import Label
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.ingest.mapping import BadMapping, Mapping
from fraud_assets.ingest.mapping_file import load_mapping
from fraud_assets.ingest.prepare import Prepared, prepare, prepare_profile
from fraud_assets.ingest.read import UnreadableFile
from fraud_assets.ingest.send import NotSent, send_labels
from fraud_assets.ingest.told import told
from fraud_assets.settings import BadSettings, Settings, read_settings
from fraud_assets.stores.files import UnknownPlace
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import to_events

# One import per table: its offsets are the order of one file, so a second file replaces the first.
IMPORT_NAME = "import"
SHOWN_REASONS = 10


def main(arguments: list[str] | None = None) -> int:
    """0 if rows were accepted, 1 if none were and nothing was written, 2 if nothing could be read or written."""
    console = Console(stderr=True)

    def run() -> int:
        settings = read_settings(Settings)
        options = _parse(arguments, settings)
        if options.send:
            return _send(options, settings, TokenKey.of_settings(settings), console)
        return _ingest(options, TokenKey.of_settings(settings), console)

    faults = (BadMapping, UnreadableFile, UnknownPlace, BadSettings, NotSent)
    return told(run, faults, "--lake and --rejects folders", console)


def _ingest(options: argparse.Namespace, key: TokenKey, console: Console) -> int:
    started = time.perf_counter()
    lake = Lake(options.lake)
    bare, mapping = load_mapping(options.mapping)
    with console.status("reading and checking") as status:
        parts = [(options.data, prepare(mapping, options.data, key))]
        for profile in mapping.profiles if options.profiles else ():
            status.update(f"reading {profile.file}")
            path = options.profiles / profile.file
            parts.append((path, prepare_profile(mapping, profile, path, key)))
        rejects = _write_rejects(options.rejects, bare, parts)
        # An import replaces the one before: one without a row would only take that away.
        accepted = parts[0][1].accepted
        for path, part in [(path, part) for path, part in parts if accepted and part.accepted]:
            for table, rows in part.tables.items():
                status.update(f"writing {rows.num_rows:,} rows of {path.name} to {table}")
                lake.append(table, rows, IMPORT_NAME, rewrite=True)
    console.print(f"done in {time.perf_counter() - started:.1f} s")
    _report(console, f"lake: {options.lake}", parts)
    if not accepted:
        said = f"NoRows: no row of {options.data} was accepted; the lake is as it was."
        console.print(
            " ".join([said, *(f"{path} says why." for path in rejects)]), style="red", markup=False, soft_wrap=True
        )
        return 1
    _next_steps(console, options, mapping, rejects)
    return 0


def _send(options: argparse.Namespace, settings: Settings, key: TokenKey, console: Console) -> int:
    """Labels to their topic, for a platform that runs; the lake gets them from there."""
    bare, mapping = load_mapping(options.mapping)
    if mapping.transactions.contract is not Label:
        raise BadMapping(
            f"BadMapping: --send is for labels, and {options.mapping} fills {mapping.transactions.table}. Leave --send away."
        )
    part = prepare(mapping, options.data, key)
    rejects = _write_rejects(options.rejects, bare, [(options.data, part)])
    send_labels(settings.kafka_bootstrap_servers, to_events(Label, part.tables[mapping.transactions.table]))
    _report(console, f"broker: {settings.kafka_bootstrap_servers}", [(options.data, part)])
    for path in rejects:
        console.print(f"mend the rows in {path} (line and reason first) and send them", markup=False, soft_wrap=True)
    return 0 if part.accepted else 1


def _parse(arguments: list[str] | None, settings: Settings) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fraud_assets.ingest", description="Check a transaction file and write it to the lake."
    )
    parser.add_argument("data", type=Path, metavar="TRANSACTIONS", help="CSV or Parquet file")
    parser.add_argument("--mapping", required=True, help="a TOML file, or handbook or sparkov")
    parser.add_argument("--profiles", type=Path, metavar="DIR", help="folder with the mapping's profile files")
    parser.add_argument(
        "--lake", default=settings.lake_uri, metavar="DIR", help="root of the lake (default: %(default)s)"
    )
    parser.add_argument(
        "--send", action="store_true",
        help="labels only: send them to the broker of KAFKA_BOOTSTRAP_SERVERS, as POST /labels does, and write no lake",
    )  # fmt: skip
    parser.add_argument(
        "--rejects", type=Path, metavar="DIR", default=settings.var_dir / "ingest",
        help="where rejected rows go (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def _write_rejects(folder: Path, bare: str, parts: list[tuple[Path, Prepared]]) -> list[Path]:
    """One CSV per file that had bad rows; a file of an earlier run that no longer applies is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path, part in parts:
        target = folder / f"{bare}-{path.stem}-rejects.csv"
        if len(part.rejected):
            part.rejected.with_columns(pl.exclude("line").cast(pl.String)).write_csv(target)
            written.append(target)
        else:
            target.unlink(missing_ok=True)
    return written


def _report(console: Console, place: str, parts: list[tuple[Path, Prepared]]) -> None:
    table = RichTable("file", "read", "accepted", "rejected", title=place, title_justify="left")
    for path, part in parts:
        table.add_row(path.name, f"{part.read:,}", f"{part.accepted:,}", f"{len(part.rejected):,}")
    console.print(table)
    for path, part in parts:
        reasons = part.rejected["reason"].str.replace(r"line \d+", "line …").value_counts(sort=True)
        for reason, count in reasons.head(SHOWN_REASONS).rows():
            console.print(f"  {path.name}: {count:,} × {reason}", markup=False, highlight=False)


def _next_steps(console: Console, options: argparse.Namespace, mapping: Mapping, rejects: list[Path]) -> None:
    lines = [f"mend the rows in {path} (line and reason first) and ingest again" for path in rejects]
    query = Lake(options.lake).glob(mapping.transactions.table)
    lines.append(f"look at the rows: duckdb -c \"FROM read_parquet('{query}') LIMIT 10\"")
    if mapping.labels is not None and mapping.evaluation is not None:
        lines.append(
            f"measure the model: python -m fraud_assets.evaluate --mapping {options.mapping} --data {options.data} --help"
        )
    console.print("next:")
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
