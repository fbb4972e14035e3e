"""The stream worker.

python -m streaming                     all of it: router, folder, label stage, explainer; database where DATABASE_URL is set,
                                        notifier where FRAUD_NOTIFICATIONS_FILE is
python -m streaming router|folder|labels|explainer|database|notifier    one of its processes
python -m streaming init-epoch          publish the first epoch of an empty world
python -m streaming rebuild-online      fill an emptied online store from the newest snapshot and the log
python -m streaming dlq --help          dead letters: list, show, replay
"""

import argparse
import logging
import sys

import structlog

from fraud_assets.contracts.subjects import agree_or_exit
from fraud_assets.contracts.topics import DECIDED_TOPICS, RAW_TOPICS
from streaming.settings import WorkerSettings
from streaming.supervise import DATABASE, NOTIFIER, ROLES, TETHERED, die_with_parent, roles, supervise


def _configure_logs() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> int:
    if sys.argv[1:2] == ["dlq"]:
        from streaming.dlq import app

        app(sys.argv[2:], prog_name="python -m streaming dlq")
    parser = argparse.ArgumentParser(
        prog="python -m streaming", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=[*ROLES, DATABASE, NOTIFIER, "init-epoch", "rebuild-online"])
    parser.add_argument("--force", action="store_true", help="rebuild-online: replace an epoch that is still valid")
    parser.add_argument(TETHERED, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    command = given.command
    _configure_logs()
    settings = WorkerSettings()
    if command is None:
        return supervise(roles(settings.database_url.get_secret_value(), settings.notifications_file))
    if given.tethered:
        die_with_parent()
    if command in (*ROLES, DATABASE, NOTIFIER):
        agree_or_exit(settings.schema_registry_url, (*RAW_TOPICS, *DECIDED_TOPICS))
    return _run(command, settings, is_forced=given.force)


def _run(command: str, settings: WorkerSettings, *, is_forced: bool) -> int:
    # Each process loads what it needs: the router no kernels, the folder no Parquet.
    match command:
        case "router":
            from streaming import router

            router.run(settings)
        case "folder":
            from streaming import folder

            folder.run(settings)
        case "labels":
            from streaming import label_stage

            label_stage.run(settings)
        case "explainer":
            from streaming import explainer

            explainer.run(settings)
        case "database":
            return _store(settings)
        case "notifier":
            from streaming import notifier

            notifier.run(settings)
        case "init-epoch":
            return _init_epoch(settings)
        case "rebuild-online":
            return _rebuild(settings, is_forced=is_forced)
    return 0


def _store(settings: WorkerSettings) -> int:
    if not settings.database_url.get_secret_value():
        print("refused: no DATABASE_URL; set postgresql://user:password@host/name", file=sys.stderr)
        return 1
    from streaming import database_sink

    database_sink.run(settings)
    return 0


def _rebuild(settings: WorkerSettings, *, is_forced: bool) -> int:
    from streaming.rebuild import NotLost, rebuild

    try:
        print(rebuild(settings, is_forced=is_forced))
    except NotLost as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 1
    return 0


def _init_epoch(settings: WorkerSettings) -> int:
    from streaming.epoch import NotEmpty, init_epoch

    try:
        marker = init_epoch(settings)
    except NotEmpty as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 1
    print(f"epoch {marker.epoch} published for an empty log")
    return 0


if __name__ == "__main__":
    sys.exit(main())
