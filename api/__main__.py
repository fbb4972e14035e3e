"""`python -m api`: the scorer, one process; `keys`: who may call it; `audit`: whether its decisions are all there."""

import argparse
import sys

import uvicorn

from api import audit_cli, keys_cli, logs
from api.app import create_app
from api.jwt_bearer import BadJwtKey
from api.keys import BadKeys, read_keys
from api.runtime import Runtime
from api.settings import ApiSettings
from fraud_assets.contracts.subjects import agree_or_exit
from fraud_assets.contracts.topics import DECISIONS, LABELS
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.settings import BadSettings, read_settings

# Longer than callers keep a connection that they do not use (a minute, in most pools). The other way
# round a payment now and then meets a connection that is just being closed, and gets no answer.
KEEP_ALIVE_S = 75


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
    app = create_app(Runtime(settings, registry(), FRAUD_SCORING))
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,  # one canonical line per request comes from the scorer itself
        log_config=None,  # its lines are ours, api/logs.py
        log_level="warning",
        server_header=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    main()
