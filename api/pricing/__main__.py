"""`python -m api.pricing`: recommends prices of events, one process of any number."""

import argparse
import sys

from api import edge, logs
from api.jwt_bearer import BadJwtKey
from api.keys import BadKeys, read_keys
from api.pricing.app import create_app
from api.pricing.runtime import Runtime
from api.pricing.settings import PricingSettings
from fraud_assets.contracts.subjects import agree_or_exit
from fraud_assets.contracts.topics import PRICE_DECISIONS, PRICE_OUTCOMES
from fraud_assets.features.catalogue.ticketing import EVENT_PRICING, registry
from fraud_assets.settings import BadSettings, read_settings


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m api.pricing", description="Recommends prices of events.")
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=8001)
    chosen = arguments.parse_args()
    try:
        settings = read_settings(PricingSettings)
        read_keys(settings.api_keys_file)  # said here, before a server says it in a traceback
        logs.configure()
        agree_or_exit(settings.schema_registry_url, (PRICE_DECISIONS, PRICE_OUTCOMES))
        edge.serve(create_app(Runtime(settings, registry(), EVENT_PRICING)), chosen.host, chosen.port)
    except (BadSettings, BadKeys, BadJwtKey) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
