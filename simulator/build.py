"""One call from a spec to a world."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fraud_assets.contracts.tokens import TokenKey
from simulator.catalogue import build_events
from simulator.identity import card_numbers, dotted, emails, tokens
from simulator.ids import hex_ids, numbered
from simulator.people import build_accounts
from simulator.spec import WorldSpec
from simulator.world import Accounts, Cards, Devices, Events, Names, Network


@dataclass(frozen=True)
class World:
    """Everything that exists before the first purchase; the same spec gives the same world."""

    spec: WorldSpec
    accounts: Accounts
    network: Network
    devices: Devices
    cards: Cards
    events: Events


def build_world(spec: WorldSpec) -> World:
    """People, things and calendar, without any text."""
    accounts, network, devices, cards = build_accounts(spec)
    return World(spec, accounts, network, devices, cards, build_events(spec))


def name_world(world: World, key: TokenKey) -> Names:
    """The text of every index, tokens under `key`."""
    spec = world.spec
    card_number = card_numbers(len(world.cards.country), spec.seed)
    ip_text = dotted(world.network.address)
    email = emails(len(world.accounts))
    return Names(
        account=numbered("acct_", len(world.accounts)),
        event=numbered("evt_", spec.events),
        promoter=numbered("prom_", spec.promoters),
        device=hex_ids("dev_", np.arange(len(world.devices.user_agent), dtype=np.uint64), spec.seed),
        card_number=card_number,
        card_token=tokens("card", card_number.to_pylist(), key),
        ip_text=pa.array(ip_text, type=pa.string()),
        ip_token=tokens("ip", ip_text, key),
        email=pa.array(email, type=pa.string()),
        email_token=tokens("email", email, key),
    )
