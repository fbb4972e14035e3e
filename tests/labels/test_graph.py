"""The identity graph is who shared what, and nothing else."""

import random

import polars as pl

from fraud_assets.labels.graph import components, degrees, identity_edges, most_shared
from fraud_assets.labels.shapes import EDGES, Caps
from fraud_assets.labels.statements import frame
from tests.labels.payments import CAPS, Payment, table

TWO_SHARE = [Payment("a", 1, device="d"), Payment("a", 2, device="d"), Payment("b", 7, device="d", card=None)]


def test_an_edge_says_how_often_and_when_and_how_many_share_its_entity() -> None:
    edges = frame(identity_edges(table(TWO_SHARE)))

    ours = edges.filter((pl.col("kind") == "device") & (pl.col("account_id") == "a")).row(0, named=True)
    assert ours == {
        "kind": "device", "entity_id": "d", "account_id": "a",
        "first_seen_ms": 1, "last_seen_ms": 2, "transactions": 2, "accounts": 2,
    }  # fmt: skip


def test_a_payment_without_a_card_has_no_edge_to_one() -> None:
    cards = frame(identity_edges(table(TWO_SHARE))).filter(pl.col("kind") == "card")

    assert cards["account_id"].to_list() == ["a"]


def test_the_order_of_payments_changes_nothing() -> None:
    payments = [Payment(f"a{n % 7}", n, device=f"d{n % 3}", ip=f"ip{n % 5}") for n in range(60)]
    shuffled = random.Random(3).sample(payments, len(payments))

    assert identity_edges(table(payments)).equals(identity_edges(table(shuffled)))


def test_no_payments_are_no_edges() -> None:
    edges = identity_edges(table([]))

    assert edges.schema == EDGES.schema
    assert edges.num_rows == 0
    assert components(frame(edges), CAPS).groups == 0
    assert [one.entities for one in degrees(frame(edges), CAPS)] == [0, 0, 0]


def test_degrees_count_entities_by_how_many_accounts_share_them() -> None:
    payments = [Payment(f"a{n}", ip="carrier") for n in range(30)] + [
        Payment("a0", 1, ip="home"),
        Payment("a1", 1, ip="home"),
    ]

    ips = degrees(frame(identity_edges(table(payments))), CAPS)[2]

    assert (ips.kind, ips.entities, ips.edges, ips.shared) == ("ip", 2, 32, 2)
    assert (ips.accounts_max, ips.cap, ips.capped) == (30, 20, 1)


def test_the_most_shared_entity_is_named_first() -> None:
    payments = [Payment(f"a{n}", device="kiosk" if n < 4 else "", ip="campus") for n in range(9)]

    found = most_shared(frame(identity_edges(table(payments))), 2)

    assert found.select("kind", "entity_id", "accounts").rows() == [("ip", "campus", 9), ("device", "kiosk", 4)]


def test_an_entity_over_its_cap_joins_nobody() -> None:
    payments = [Payment(f"a{n}", ip="campus", device="home" if n < 3 else "") for n in range(9)]
    edges = frame(identity_edges(table(payments)))

    joined, apart = components(edges, CAPS), components(edges, Caps(device=10, card=5, ip=8))

    assert (joined.groups, joined.largest) == (1, 9)
    assert (apart.groups, apart.largest) == (7, 3)
