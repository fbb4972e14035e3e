"""The stream worker.

python -m streaming                     all of it: router, folder, label stage, explainer; database where DATABASE_URL is set,
                                        notifier where FRAUD_NOTIFICATIONS_FILE is
python -m streaming router|folder|labels|explainer|database|notifier    one of its processes
python -m streaming init-epoch          publish the first epoch of an empty world
python -m streaming rebuild-online      fill an emptied online store from the newest snapshot and the log
python -m streaming dlq --help          dead letters: list, show, replay
"""

import argparse
import os
import sys
from typing import NoReturn

import structlog
from confluent_kafka import KafkaException

from fraud_assets.contracts.subjects import agree_or_exit
from fraud_assets.contracts.topics import DECIDED_TOPICS, RAW_TOPICS
from fraud_assets.settings import BadSettings, read_settings
from fraud_assets.stores.online_port import StoreUnavailable
from streaming import logs
from streaming.core.notices import BadRules
from streaming.settings import WorkerSettings
from streaming.supervise import DATABASE, NOTIFIER, ROLES, TETHERED, die_with_parent, roles, supervise

INIT, REBUILD = "init-epoch", "rebuild-online"


def main() -> int:
    if sys.argv[1:2] == ["dlq"]:
        from streaming.dlq import app

        app(sys.argv[2:], prog_name="python -m streaming dlq")
    parser = argparse.ArgumentParser(
        prog="python -m streaming", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=[*ROLES, DATABASE, NOTIFIER, INIT, REBUILD])
    parser.add_argument("--force", action="store_true", help=f"{REBUILD}: replace an epoch that is still valid")
    parser.add_argument(TETHERED, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    command = given.command
    if given.force and command != REBUILD:
        parser.error(f"--force is for {REBUILD} alone")
    logs.configure()
    try:
        return _do(command, read_settings(WorkerSettings), given)
    except (BadSettings, BadRules) as error:
        return _refused(str(error))


def _do(command: str | None, settings: WorkerSettings, given: argparse.Namespace) -> int:
    if command is None:
        return supervise(roles(settings.database_url.get_secret_value(), settings.notifications_file))
    if given.tethered:
        die_with_parent()
    if command in (*ROLES, DATABASE, NOTIFIER):
        agree_or_exit(settings.schema_registry_url, (*RAW_TOPICS, *DECIDED_TOPICS))
        code = _play(command, settings)
        return code or _end_at_once()
    # What a person calls, who can do something about a server that is away.
    try:
        return _init_epoch(settings) if command == INIT else _rebuild(settings, is_forced=given.force)
    except StoreUnavailable as error:
        return _refused(
            f"the online store does not answer: {str(error).rstrip('.')}. Is it started, and is REDIS_URL its address?"
        )
    except KafkaException as error:
        return _refused(
            f"no broker answers: {error.args[0].str()}. Is it started, and is KAFKA_BOOTSTRAP_SERVERS its address?"
        )


def _refused(why: str) -> int:
    """To whoever called it: a person, or the supervisor's log."""
    if TETHERED in sys.argv:
        structlog.get_logger().error("refused", detail=why)
    else:
        print(f"refused: {why}", file=sys.stderr)
    return 1


def _play(role: str, settings: WorkerSettings) -> int:
    """One of the worker's processes, until it is told to stop."""
    # Each process loads what it needs: the router no kernels, the folder no Parquet.
    match role:
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
            return _notify(settings)
    return 0


def _end_at_once() -> NoReturn:
    """To take a process apart, module by module and client by client, takes a third of a second of a core, and 15 s where many want one:
    the supervisor kills it then, and says that it has not drained. What counts is in the log, the lake and the stores by now.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _store(settings: WorkerSettings) -> int:
    if not settings.database_url.get_secret_value():
        return _refused("no DATABASE_URL; set postgresql://user:password@host/name")
    from streaming import database_sink

    database_sink.run(settings)
    return 0


def _notify(settings: WorkerSettings) -> int:
    from streaming import notifier

    if settings.notifications_file is None:
        return _refused("no FRAUD_NOTIFICATIONS_FILE; name the file that says who is to be told of what")
    try:
        notifier.rules_of(settings.notifications_file)
    except OSError as error:
        return _refused(
            f"{settings.notifications_file}: {error.strerror}. FRAUD_NOTIFICATIONS_FILE must name a file that can be read."
        )
    notifier.run(settings)
    return 0


def _rebuild(settings: WorkerSettings, *, is_forced: bool) -> int:
    from streaming.rebuild import NotLost, rebuild

    try:
        print(rebuild(settings, is_forced=is_forced))
    except NotLost as refusal:
        return _refused(str(refusal))
    return 0


def _init_epoch(settings: WorkerSettings) -> int:
    from streaming.epoch import NotEmpty, init_epoch

    try:
        marker = init_epoch(settings)
    except NotEmpty as refusal:
        return _refused(str(refusal))
    print(f"epoch {marker.epoch} published for an empty log")
    return 0


if __name__ == "__main__":
    sys.exit(main())
