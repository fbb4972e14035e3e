"""Questions about models that were trained, by version.

`python -m fraud_assets.training reproduce VERSION`: does the kept training set give the same bytes? Exit 0: yes. 1: no, and what differs.
`python -m fraud_assets.training lineage VERSION [--json]`: raw days, feature digests, training set, run, who serves it.
`python -m fraud_assets.training compare [-n N] [--to FILE]`: the last versions side by side, as a page.
`python -m fraud_assets.training look [--kept FILE]`: one look of the rollout's guard, without Dagster; what it found, as a line of JSON.

VERSION may be `champion`. Exit 3: it cannot be told, and the last line of standard error says why.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from fraud_assets.models.artifact import read_champion
from fraud_assets.models.manifest import RefusedModel
from fraud_assets.settings import BadSettings, Settings, read_settings
from fraud_assets.stores.files import beside
from fraud_assets.stores.lake import Lake

SAME, DIFFERENT, USAGE, UNKNOWN = 0, 1, 2, 3
CHAMPION = "champion"


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        answer: Callable[[Settings, argparse.Namespace], int] = options.answer
        return answer(read_settings(Settings), options)
    except (RefusedModel, LookupError, FileNotFoundError, BadSettings) as error:
        # A KeyError would say its message in quotes.
        print(error.args[0] if isinstance(error, LookupError) else error, file=sys.stderr)
        return UNKNOWN


def _reproduce(settings: Settings, options: argparse.Namespace) -> int:
    from fraud_assets.training.reproduce import reproduce  # XGBoost, which the other questions need not wait for

    found = reproduce(settings.model_dir, beside(settings.lake_uri, "training"), _version(settings, options.version))
    for note in found.notes:
        print(f"note: {note}")
    if not found.same:
        print(f"{found.version}: NOT reproduced")
        print(f"  made sha256 {found.sha256}\n  recorded    {found.recorded_sha256}")
        for difference in found.differences:
            print(f"  {difference}")
        return DIFFERENT
    print(f"{found.version}: the same bytes, sha256 {found.sha256}")
    return SAME


def _lineage(settings: Settings, options: argparse.Namespace) -> int:
    from mlflow.tracking import MlflowClient

    from fraud_assets.rollout.standing import MODEL_NAME
    from fraud_assets.training.lineage import lineage, text_of

    found = lineage(
        settings.model_dir,
        beside(settings.lake_uri, "training"),
        Lake(settings.lake_uri),
        _version(settings, options.version),
        MlflowClient(settings.mlflow_tracking_uri),
        MODEL_NAME,
    )
    print(json.dumps(found.as_json(), indent=1) if options.json else text_of(found))
    return SAME


def _compare(settings: Settings, options: argparse.Namespace) -> int:
    from fraud_assets.training.versions_page import last_versions, write_page

    versions = last_versions(settings.model_dir, options.n)
    print(write_page(versions, options.to or settings.var_dir / "reports" / "models.html"))
    return SAME


def _look(settings: Settings, options: argparse.Namespace) -> int:
    from fraud_assets.training.guarded import Watcher

    found = Watcher(settings, options.kept or settings.model_dir / "guard.json").look()
    rollout, judgement = found.rollout, found.judgement
    print(
        json.dumps(
            {
                "sequence": rollout.sequence,
                "phase": rollout.phase.value,
                "verdict": judgement.verdict.value if judgement else None,
                "own": judgement.own if judgement else 0,
                "words": judgement.words if judgement else "nothing is watched",
            }
        )
    )
    return SAME


def _version(settings: Settings, asked: str) -> str:
    if asked != CHAMPION:
        return asked
    pointer = read_champion(settings.model_dir)
    if pointer is None:
        raise LookupError(f"{settings.model_dir} has no champion file; name a version")
    return pointer.version


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fraud_assets.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, answer in (("reproduce", _reproduce), ("lineage", _lineage)):
        command = commands.add_parser(name)
        command.add_argument("version", metavar="VERSION", help="as decisions name it, or `champion`")
        command.set_defaults(answer=answer)
        if name == "lineage":
            command.add_argument("--json", action="store_true", help="for programs")
    page = commands.add_parser("compare")
    page.add_argument("-n", type=_count, default=5, metavar="N", help="how many versions, the newest first (default 5)")
    page.add_argument("--to", type=Path, metavar="FILE", help="default: reports/models.html in FRAUD_VAR_DIR")
    page.set_defaults(answer=_compare)
    look = commands.add_parser("look")
    look.add_argument(
        "--kept", type=Path, metavar="FILE", help="what was gathered (default: guard.json beside the models)"
    )
    look.set_defaults(answer=_look)
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
