"""The stream worker.

python -m streaming                     all of it: router, folder, label stage, explainer; database where DATABASE_URL is set,
                                        notifier where FRAUD_NOTIFICATIONS_FILE is
python -m streaming router|folder|labels|explainer|database|notifier    one of its processes
python -m streaming init-epoch          publish the first epoch of an empty world
python -m streaming rebuild-online      fill an emptied online store from the newest snapshot and the log
python -m streaming dlq --help          dead letters: list, show, replay
"""

import argparse
import functools
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import structlog
from confluent_kafka import KafkaException

from fraud_assets.contracts.subjects import agree_or_exit
from fraud_assets.contracts.topics import DECIDED_TOPICS, RAW_TOPICS
from fraud_assets.settings import BadSettings, read_settings
from fraud_assets.stores.online_port import StoreUnavailable
from streaming import logs
from streaming.core.notices import BadRules
from streaming.preload import MODULES
from streaming.settings import WorkerSettings
from streaming.supervise import DATABASE, NOTIFIER, roles, supervise

INIT, REBUILD = "init-epoch", "rebuild-online"


class Refused(RuntimeError):
    """What was asked for cannot be done; the message says why, and what would help."""


def main() -> int:
    if sys.argv[1:2] == ["dlq"]:
        from streaming.dlq import app

        app(sys.argv[2:], prog_name="python -m streaming dlq")
    parser = argparse.ArgumentParser(
        prog="python -m streaming", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=[*MODULES, INIT, REBUILD])
    parser.add_argument("--force", action="store_true", help=f"{REBUILD}: replace an epoch that is still valid")
    given = parser.parse_args()
    command = given.command
    if given.force and command != REBUILD:
        parser.error(f"--force is for {REBUILD} alone")
    logs.configure()
    try:
        return _do(command, read_settings(WorkerSettings), given)
    except (BadSettings, BadRules, Refused) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1


def _do(command: str | None, settings: WorkerSettings, given: argparse.Namespace) -> int:
    if command is None:
        chosen = roles(settings.database_url.get_secret_value(), settings.notifications_file)
        return supervise(chosen, functools.partial(_play_supervised, settings=settings))
    if command in MODULES:
        _play(command, settings)
    # What a person calls, who can do something about a server that is away.
    try:
        return _init_epoch(settings) if command == INIT else _rebuild(settings, is_forced=given.force)
    except StoreUnavailable as error:
        raise Refused(
            f"the online store does not answer: {str(error).rstrip('.')}. Is it started, and is REDIS_URL its address?"
        ) from error
    except KafkaException as error:
        raise Refused(
            f"no broker answers: {error.args[0].str()}. Is it started, and is KAFKA_BOOTSTRAP_SERVERS its address?"
        ) from error


def _play_supervised(role: str, settings: WorkerSettings) -> int:
    try:
        _play(role, settings)
    except (BadRules, Refused) as error:
        structlog.get_logger().error("refused", detail=str(error))
        return 1


def _play(role: str, settings: WorkerSettings) -> NoReturn:
    """One of the worker's processes, until it is told to stop."""
    agree_or_exit(settings.schema_registry_url, (*RAW_TOPICS, *DECIDED_TOPICS))
    if role == DATABASE and not settings.database_url.get_secret_value():
        raise Refused("no DATABASE_URL; set postgresql://user:password@host/name")
    if role == NOTIFIER:
        _check_rules(settings.notifications_file)
    import_module(MODULES[role]).run(settings)
    _end_at_once()


def _end_at_once() -> NoReturn:
    """To take a process apart, module by module and client by client, takes a third of a second of a core, and 15 s where many want one:
    the supervisor kills it then, and says that it has not drained. What counts is in the log, the lake and the stores by now.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _check_rules(file: Path | None) -> None:
    """Raises BadRules and Refused."""
    from streaming import notifier

    if file is None:
        raise Refused("no FRAUD_NOTIFICATIONS_FILE; name the file that says who is to be told of what")
    try:
        notifier.rules_of(file)
    except OSError as error:
        raise Refused(
            f"{file}: {error.strerror}. FRAUD_NOTIFICATIONS_FILE must name a file that can be read."
        ) from None


def _rebuild(settings: WorkerSettings, *, is_forced: bool) -> int:
    from streaming.rebuild import NotLost, rebuild

    try:
        print(rebuild(settings, is_forced=is_forced))
    except NotLost as refusal:
        raise Refused(str(refusal)) from refusal
    return 0


def _init_epoch(settings: WorkerSettings) -> int:
    from streaming.epoch import NotEmpty, init_epoch

    try:
        marker = init_epoch(settings)
    except NotEmpty as refusal:
        raise Refused(str(refusal)) from refusal
    print(f"epoch {marker.epoch} published for an empty log")
    return 0


if __name__ == "__main__":
    sys.exit(main())
