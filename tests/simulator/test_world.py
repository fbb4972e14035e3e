"""The world holds the people and coincidences that make fraud hard to tell."""

import re
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.contracts.tokens import country_of, tokenise
from simulator.ids import hex_ids, mixed
from simulator.places import CITIES, COUNTRIES, COUNTRY_CODES, city_share
from simulator.world import Persona
from tests.simulator.worlds import KEY, SPEC, Made


def test_every_address_lies_in_its_country_for_the_platforms_lookup(made: Made) -> None:
    """The API derives the country from the raw address; the history writes what it would find."""
    addresses = made.names.ip_text.to_pylist()
    intended = [COUNTRY_CODES[code] for code in made.world.network.country]

    wrong = [(ip, code) for ip, code in zip(addresses, intended, strict=True) if country_of(ip) != code]

    assert wrong == []


def test_tokens_are_those_of_the_contract(made: Made) -> None:
    """The live driver sends raw values; the platform must arrive at the history's tokens."""
    names = made.names
    columns: list[tuple[Literal["card", "email", "ip"], pa.StringArray, pa.StringArray]] = [
        ("card", names.card_number, names.card_token),
        ("ip", names.ip_text, names.ip_token),
        ("email", names.email, names.email_token),
    ]
    for kind, raw, token in columns:
        assert [tokenise(kind, raw[i].as_py(), KEY) for i in (0, 17, len(raw) - 1)] == [
            token[i].as_py() for i in (0, 17, len(raw) - 1)
        ]


def test_ids_and_personal_data_are_unique(made: Made) -> None:
    names = made.names
    for column in (names.account, names.event, names.device, names.card_number, names.card_token, names.email_token):
        assert pc.count_distinct(column).as_py() == len(column)


def test_card_numbers_are_of_the_test_issuer_and_pass_luhn(made: Made) -> None:
    for number in made.names.card_number.to_pylist()[:500]:
        assert re.fullmatch(r"400000\d{10}", number)
        doubled = [int(d) * 2 if i % 2 else int(d) for i, d in enumerate(reversed(number))]
        assert sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def test_mixed_numbers_never_meet() -> None:
    """A bijection: distinct rows have distinct ids, and consecutive ones do not look it."""
    number = np.arange(100_000, dtype=np.uint64)

    ids = hex_ids("txn_", number, key=5)

    assert pc.count_distinct(ids).as_py() == len(number)
    assert np.unique(mixed(number, 5)).size == len(number)
    assert not all(a < b for a, b in pairwise(ids.to_pylist()[:50]))


def test_families_share_an_address_and_a_device_and_a_card(made: Made) -> None:
    people = made.world.accounts
    sizes = np.bincount(people.household)

    family = np.flatnonzero(people.household == np.argmax(sizes))

    assert sizes.max() >= 4
    assert np.unique(people.ips[family, 0]).size == 1
    assert np.unique(people.devices[family, 2]).size == 1
    assert np.unique(people.lat[family]).size == 1


def test_all_five_personas_live_here_and_say_nothing_by_their_number(made: Made) -> None:
    """Account numbers are shuffled: fraudsters are not the last ones of the list."""
    persona = made.world.accounts.persona
    fraudsters = np.flatnonzero(persona == Persona.FRAUDSTER)

    assert set(persona) == set(Persona)
    assert abs(fraudsters.mean() / SPEC.accounts - 0.5) < 0.1


def test_people_live_where_their_countries_weights_say() -> None:
    share = city_share()

    assert share.sum() == np.float64(1) or abs(share.sum() - 1) < 1e-12
    assert len(CITIES) == len(share)
    assert abs(sum(country.weight for country in COUNTRIES) - 1) < 1e-9


def test_popularity_is_heavy_tailed(made: Made) -> None:
    """A tenth of the events takes more than two fifths of the purchases."""
    bought = pc.value_counts(made.table("transactions")["event_id"]).field("counts").to_numpy()

    top = np.sort(bought)[::-1][: SPEC.events // 10].sum()

    assert top / bought.sum() > 0.4


def test_a_flash_sale_crowd_comes_in_the_minutes_after_on_sale(made: Made) -> None:
    """The busiest ten minutes of an on-sale event hold many times its usual traffic."""
    events = made.world.events
    opens = (events.flash_size > 0) & (events.on_sale_ms >= SPEC.start_ms) & (events.on_sale_ms < SPEC.end_ms)
    event = int(np.flatnonzero(opens)[np.argmax(events.flash_size[opens])])
    rows = made.table("transactions")
    time = rows.filter(pc.equal(rows["event_id"], f"evt_{event:06d}"))["event_time_ms"].to_numpy()

    in_crowd = (time >= events.on_sale_ms[event]) & (time < events.on_sale_ms[event] + 30 * 60_000)

    assert in_crowd.sum() > 0.6 * events.flash_size[event]
