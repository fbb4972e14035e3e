"""`python -m api`: the scorer, one process; `keys`: who may call it; `audit`: whether its decisions are all there."""

import argparse
import sys

from api import audit_cli, edge, keys_cli, logs
from api.app import create_app
from api.jwt_bearer import BadJwtKey
from api.keys import BadKeys, read_keys
from api.runtime import Runtime
from api.settings import ApiSettings
from fraud_assets.contracts.subjects import agree_or_exit
from fraud_assets.contracts.topics import DECISIONS, LABELS
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.settings import BadSettings, read_settings


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m api", description="Decides, while a payment waits.")
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=8000)
    commands = arguments.add_subparsers(dest="command")
    keys_cli.add_to(commands)
    audit_cli.add_to(commands)
    chosen = arguments.parse_args()
    try:
        run(chosen)
    except (BadSettings, BadKeys, BadJwtKey) as error:
        sys.exit(str(error))


def run(chosen: argparse.Namespace) -> None:
    """Raises BadSettings, BadKeys and BadJwtKey, whose messages are for a person."""
    if chosen.command == "keys":
        keys_cli.run(chosen, read_settings(ApiSettings).api_keys_file)
    elif chosen.command == "audit":
        audit_cli.run(chosen)
    else:
        serve(chosen.host, chosen.port)


def serve(host: str, port: int) -> None:
    """Until it is told to stop."""
    settings = read_settings(ApiSettings)
    read_keys(settings.api_keys_file)  # said here, before a server says it in a traceback
    logs.configure()
    agree_or_exit(settings.schema_registry_url, (DECISIONS, LABELS))
    edge.serve(create_app(Runtime(settings, registry(), FRAUD_SCORING)), host, port)


if __name__ == "__main__":
    main()
