"""`python -m fraud_assets.audit --mapping m.toml FILE`: what a stranger's history says of fraud, with no integration."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from fraud_assets.audit.history import Audited, read_history, read_mapping
from fraud_assets.audit.model import measured
from fraud_assets.audit.pattern import with_money
from fraud_assets.audit.rejects import commonest, explained
from fraud_assets.audit.report import summary_of, write_csv, write_report
from fraud_assets.audit.rows import rows_named
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.ingest.decimals import scaled_text
from fraud_assets.ingest.mapping import BadMapping
from fraud_assets.ingest.read import UnreadableFile
from fraud_assets.ingest.told import told
from fraud_assets.settings import BadSettings, Settings, read_settings
from fraud_assets.training.money import UnknownCurrency
from fraud_assets.training.split import TooShort
from fraud_assets.training.threshold import CostTable, costs_of

REJECTS = "rejects.csv"
ROWS = "rows.csv"


class NoModel(ValueError):
    """Too little of it for a model."""


class NoRows(ValueError):
    """A file of which no row could be used."""


class NoFraud(ValueError):
    """Verdicts, and no fraud among them."""


FAULTS = (BadMapping, UnreadableFile, BadSettings, UnknownCurrency, NoRows, NoFraud, NoModel)


def main(arguments: list[str] | None = None) -> int:
    """0 with a report; 2, and one line that says why, without."""
    console = Console(stderr=True)

    def run() -> int:
        settings = read_settings(Settings)
        options = _parse(arguments, settings)
        _audit(options, settings, TokenKey.of_settings(settings), console)
        return 0

    return told(run, FAULTS, "--out a folder", console)


def _audit(options: argparse.Namespace, settings: Settings, key: TokenKey, console: Console) -> None:
    mapping = read_mapping(options.mapping)
    options.out.mkdir(parents=True, exist_ok=True)
    with console.status("reading and checking") as status:
        found = read_history(mapping, options.data, key)
        faults = explained(found.prepared if isinstance(found, Audited) else found, mapping)
        write_csv(faults, options.out / REJECTS)
        if not isinstance(found, Audited):
            first = next(iter(commonest(faults)), {"reason": "the file is empty", "fix": "send payments"})
            raise NoRows(f"NoRows: no row of {options.data} can be used: {first['reason']}; {first['fix']}.")
        if found.labelled and not found.rows["is_fraud"].any():
            assert mapping.labels is not None
            raise NoFraud(
                f"NoFraud: {mapping.labels.is_fraud} calls no payment a fraud. Name its words under [labels]: fraud = [...]."
            )
        status.update("counting, and what rules would have done")
        rows = with_money(found, settings.exchange_rates)
        summary = summary_of(options.data.name, found, rows, commonest(faults), key)
        if found.labelled and not options.no_model:
            status.update("features, a model of the older part, and what it would have done to the newer")
            try:
                summary["model"] = measured(found, rows, _costs(options, settings))
            except TooShort as error:
                raise NoModel(f"{error} Or leave the model out: --no-model.") from error
        write_report(summary, options.out)
        write_csv(rows_named(summary, rows, key), options.out / ROWS)
    _next_steps(options, console, rejected=len(faults) > 0, labelled=found.labelled)


def _parse(arguments: list[str] | None, settings: Settings) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fraud_assets.audit",
        description="What a file of past payments says of fraud, as an HTML report.",
    )
    parser.add_argument("data", type=Path, metavar="FILE", help="CSV or Parquet file of past payments")
    parser.add_argument("--mapping", required=True, help="a TOML file, or handbook or sparkov")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=settings.var_dir / "audit",
        help="where report.html, summary.json, rows.csv and rejects.csv go (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--no-model", action="store_true", help="the pattern alone; needs less history")
    for option, default, what in (
        ("--chargeback-fee", settings.chargeback_fee_minor, "a chargeback's fee"),
        ("--false-decline", settings.false_decline_minor, "what refusing a good customer costs"),
        ("--review", settings.review_minor, "what one review costs"),
    ):
        parser.add_argument(
            option, type=_minor, default=default, metavar="MONEY", help=f"{what} (default: {default / 100:.2f})"
        )
    return parser.parse_args(arguments)


def _minor(text: str) -> int:
    found = scaled_text(text, 2)
    if found is None or found < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount; write one like 12.50")
    return found


def _costs(options: argparse.Namespace, settings: Settings) -> CostTable:
    return replace(
        costs_of(settings),
        chargeback_fee_minor=options.chargeback_fee,
        false_decline_minor=options.false_decline,
        review_minor=options.review,
    )


def _next_steps(options: argparse.Namespace, console: Console, *, rejected: bool, labelled: bool) -> None:
    lines = [f"open {options.out / 'report.html'}; the same numbers are in {options.out / 'summary.json'}"]
    if rejected:
        lines.append(f"mend the rows in {options.out / REJECTS} (line, column, reason, fix) and audit again")
    if not labelled:
        lines.append(
            "map a chargeback column under [labels]: without one there are counts, what rules would have done, and no losses"
        )
    console.print("next:")
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
