"""Confirmed frauds speak of those who share with them, and a shared address poisons nobody."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.labels.graph import identity_edges
from fraud_assets.labels.propagation import MIN_CONFIDENCE, PROPAGATED_AT, propagate
from fraud_assets.labels.shapes import WEIGHTS, Caps
from fraud_assets.labels.walk import DAMPING, MAX_ROUNDS, OTHERS, StaleGraph
from tests.labels.payments import CAPS, Payment, confidences, identities, spread, table


def sharing(account: str, number: int, kind: str) -> Payment:
    """A payment with the one entity of a kind that several share."""
    shared = {name: "shared" if name == kind else "" for name in WEIGHTS}
    return Payment(account, number, shared["device"], shared["card"], shared["ip"])


def ring(size: int, confirmed: int) -> tuple[list[Payment], list[Payment]]:
    """Accounts that pay twice each, from addresses of their own, with one device and one card; and the confirmed ones' payments."""
    payments = [Payment(f"ring{n}", k, device="shared-d", card="shared-c") for n in range(size) for k in range(2)]
    return payments, payments[: 2 * confirmed]


def test_one_fraudster_on_an_address_of_5000_accounts_poisons_nobody() -> None:
    """A carrier's address: were it to transmit, thousands of customers would be called his accomplices."""
    fraudster = [Payment("fraudster", n, ip="carrier") for n in range(40)]
    crowd = [Payment(f"c{n:04}", ip="carrier") for n in range(5_000)]

    found = confidences(spread([*fraudster, *crowd], fraudster[:30]))

    assert not {account for account, _ in found} - {"fraudster"}
    assert all(found[payment.identity] > PROPAGATED_AT for payment in fraudster[30:])  # his own others are found


def test_a_point_of_sale_where_every_fifth_is_a_fraudster_tells_nothing_of_the_others() -> None:
    """A mean over its accounts alone would call all of them suspect; the cap is what says that they are strangers."""
    payments = [Payment(f"c{n:03}", device="kiosk") for n in range(500)]

    capped, uncapped = (
        confidences(spread(payments, payments[:100], caps=caps)) for caps in (CAPS, Caps(device=10_000, card=5, ip=20))
    )

    honest = [payment.identity for payment in payments[100:]]
    assert not set(honest) & set(capped)
    assert min(uncapped[identity] for identity in honest) > 0.05


@pytest.mark.parametrize("kind", ["device", "card", "ip"])
def test_at_its_cap_an_entity_with_one_fraudster_gives_each_other_account_less_than_its_share(kind: str) -> None:
    """Who knows the cap and stays below it gains 1/k of a kind's weight, however many payments he makes."""
    cap = CAPS.of(kind)
    fraudster = [sharing("fraudster", n, kind) for n in range(500)]
    others = [sharing(f"o{n:02}", 0, kind) for n in range(cap - 1)]

    found = confidences(spread([*fraudster, *others], fraudster))

    expected = confidence_of_one_fraudster(cap, WEIGHTS[kind])
    assert [found.get(other.identity, 0.0) for other in others] == pytest.approx(
        [written(expected)] * (cap - 1), abs=1e-5
    )
    assert expected < 1.5 * DAMPING * WEIGHTS[kind] / (cap - 1)
    assert written(expected) > 0 or kind == "ip"


def written(confidence: float) -> float:
    """What a reader finds of it."""
    return confidence if confidence >= MIN_CONFIDENCE else 0.0


def confidence_of_one_fraudster(accounts: int, weight: float) -> float:
    """By hand, of an account that has paid once: x = α w y and y = g · 0 + (1 − g) · (1 + (k − 2) x) / (k − 1), g = 1 / (1 + OTHERS)."""
    k, step = accounts, DAMPING * weight * OTHERS / (1 + OTHERS) / (accounts - 1)
    return step / (1 - step * (k - 2))


def test_an_address_says_less_than_a_device_and_that_less_than_a_card() -> None:
    said = {}
    for kind in WEIGHTS:
        fraud, other = sharing("fraudster", 0, kind), sharing("other", 0, kind)
        said[kind] = confidences(spread([fraud, other], [fraud]))[other.identity]

    assert said["ip"] < said["device"] < said["card"]


def test_a_ring_that_shares_a_device_and_a_card_is_found_from_a_third_of_it() -> None:
    caps = Caps(device=10, card=10, ip=20)
    payments, confirmed = ring(6, 2)
    bystanders = [Payment(f"b{n}", ip="campus") for n in range(15)] + [Payment("ring5", 9, ip="campus")]

    found = confidences(spread([*payments, *bystanders], confirmed, caps=caps))

    rest = [found[payment.identity] for payment in payments[4:]]
    assert min(rest) > PROPAGATED_AT
    assert all(found.get(one.identity, 0.0) < 0.02 for one in bystanders if one.account != "ring5")


def test_a_robbed_customers_own_payments_are_hardly_suspect() -> None:
    """One payment of twenty-one was the thief's, from his device with the customer's card."""
    own = [Payment("victim", n) for n in range(20)]
    theft = Payment("victim", 20, device="thief", ip="thief")

    found = confidences(spread([*own, theft], [theft]))

    assert max(found[payment.identity] for payment in own) < 0.1


def test_the_owner_of_a_stolen_card_is_known_by_what_he_paid_before() -> None:
    """Three accounts of thieves pay with it; two of them are confirmed, and the third is found."""
    owner = [Payment("owner", n, card="stolen") for n in range(60)]
    thieves = [Payment(f"thief{n}", k, card="stolen") for n in range(3) for k in range(2)]

    found = confidences(spread([*owner, *thieves], thieves[:4]))

    assert max(found.get(payment.identity, 0.0) for payment in owner) < 0.05
    assert min(found[payment.identity] for payment in thieves[4:]) > 0.15


def test_another_payment_from_the_thiefs_device_is_suspect() -> None:
    theft = [Payment(f"victim{n}", 20, device="thief", ip="thief") for n in range(4)]
    own = [Payment(f"victim{n}", k) for n in range(4) for k in range(20)]

    found = confidences(spread([*own, *theft], theft[:3]))

    assert found[theft[3].identity] > PROPAGATED_AT
    assert found[theft[3].identity] > 4 * max(found.get(payment.identity, 0.0) for payment in own)


def test_a_payment_that_was_cleared_is_not_suspect_and_absorbs() -> None:
    payments, confirmed = ring(4, 1)
    bridge = payments[2:4]

    before, after = (confidences(spread(payments, confirmed, cleared)) for cleared in ([], bridge))

    assert not {payment.identity for payment in bridge} & set(after)
    assert 0 < after[payments[6].identity] < before[payments[6].identity]


def test_a_payment_that_is_both_is_a_fraud() -> None:
    payments, confirmed = ring(3, 1)

    assert confidences(spread(payments, confirmed, confirmed)) == confidences(spread(payments, confirmed))


def test_confirmed_payments_have_confidence_one_and_no_hops() -> None:
    payments, confirmed = ring(3, 1)

    found = spread(payments, confirmed)

    rows = [row for row in found.rows.to_pylist() if row["is_confirmed"]]
    assert [(row["account_id"], row["transaction_id"]) for row in rows] == [one.identity for one in confirmed]
    assert {(row["confidence"], row["hops"], row["is_fraud"], row["through_kind"]) for row in rows} == {
        (1.0, 0, True, None)
    }
    assert found.confirmed == len(confirmed)


def test_what_a_payment_is_linked_by_and_how_far_is_told() -> None:
    chain = [
        Payment("f", device="d1"), Payment("f", 1, device="d1"), Payment("g", device="d1", card="c1"), Payment("h", card="c1"),
    ]  # fmt: skip

    rows = {row["account_id"]: row for row in spread(chain, chain[:1]).rows.to_pylist() if not row["is_confirmed"]}

    told = {name: (row["hops"], row["through_kind"], row["through_id"]) for name, row in rows.items()}
    assert told == {"f": (1, "account", "f"), "g": (1, "device", "d1"), "h": (2, "card", "c1")}


def test_without_a_confirmed_fraud_nobody_is_suspect() -> None:
    payments, _ = ring(5, 0)

    found = spread(payments, [])

    assert found.rows.num_rows == 0
    assert spread([], []).rows.num_rows == 0


def test_an_unknown_cards_absence_joins_nobody() -> None:
    payments = [Payment("fraudster", n, card=None) for n in range(3)] + [Payment("other", card=None)]

    found = confidences(spread(payments, payments[:2]))

    assert ("other", "other-0") not in found
    assert found[payments[2].identity] > PROPAGATED_AT


def test_a_graph_of_other_payments_is_refused() -> None:
    payments, confirmed = ring(3, 1)
    old = identity_edges(table(payments[:-1]))

    with pytest.raises(StaleGraph, match="materialize identity_graph"):
        propagate(old, table(payments), identities(confirmed), identities([]), CAPS)


def test_the_values_stand_still_before_the_last_round() -> None:
    """Closely knit, which is what takes longest: all that one has comes back from the other."""
    pair = [Payment(name, n, device="d", card="c", ip="i") for name in "ab" for n in range(30)]

    found = spread(pair, pair[:1])

    assert 1 < found.rounds < MAX_ROUNDS


PAYMENTS = st.lists(
    st.builds(
        Payment,
        st.sampled_from("abcdef"), st.integers(0, 9),
        device=st.sampled_from(["d1", "d2", "d3"]), card=st.sampled_from(["c1", "c2", None]), ip=st.sampled_from(["i1", "i2"]),
    ),
    min_size=1, max_size=25, unique_by=lambda one: one.identity,
)  # fmt: skip


@given(payments=PAYMENTS, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_confidences_are_those_of_the_walk_as_it_is_told(payments: list[Payment], seed: int) -> None:
    rng = random.Random(seed)
    verdict = {payment.identity: rng.choice(["fraud", "cleared", None, None, None]) for payment in payments}
    caps = Caps(device=3, card=4, ip=4)

    found = confidences(
        spread(
            payments,
            [one for one in payments if verdict[one.identity] == "fraud"],
            [one for one in payments if verdict[one.identity] == "cleared"],
            caps,
        )
    )

    expected = naive(payments, verdict, caps)
    unjudged = [one.identity for one in payments if verdict[one.identity] is None]
    for identity in unjudged:
        if abs(expected[identity] - MIN_CONFIDENCE) < 1e-4:
            continue  # written or not
        assert found.get(identity, 0.0) == pytest.approx(written(expected[identity]), abs=1e-5)
    assert all(0 <= value <= 1 for value in found.values())


def naive(
    payments: list[Payment], verdict: dict[tuple[str, str], str | None], caps: Caps
) -> dict[tuple[str, str], float]:
    """The module's description word by word, a payment and a step at a time."""
    kinds = {"device": 3, "card": 4, "ip": 5}
    rows = {payment.identity: payment.row() for payment in payments}
    of_account = {name: [at for at in rows if at[0] == name] for name, _ in rows}
    sharers = {
        (kind, row[place]): sorted({other[0] for other in rows.values() if other[place] == row[place]})
        for kind, place in kinds.items()
        for row in rows.values()
        if row[place] is not None
    }
    own = {name: Counter(verdict[at] for at in all_)["fraud"] / len(all_) for name, all_ in of_account.items()}
    x = dict(own)

    def drawn(among: list[tuple[str, str]], otherwise: float) -> float:
        """The mean over payments: 1, 0, or what comes where nobody has judged."""
        return float(np.mean([{"fraud": 1.0, "cleared": 0.0, None: otherwise}[verdict[at]] for at in among]))

    def from_payment(at: tuple[str, str]) -> float:
        total = 0.0
        for kind, place in kinds.items():
            entity, account = rows[at][place], at[0]
            shared = sharers.get((kind, entity), []) if entity is not None else []
            if not shared or len(shared) > caps.of(kind):
                total += WEIGHTS[kind] * own[account]
                continue
            ours, *others = (
                [to for to in of_account[name] if rows[to][place] == entity]
                for name in sorted(shared, key=lambda name: (name != account, name))
            )
            stays = len(ours) / (len(ours) + OTHERS) if others else 1.0
            total += WEIGHTS[kind] * stays * drawn(ours, own[account])
            for theirs in others:
                total += WEIGHTS[kind] * (1 - stays) / len(others) * drawn(theirs, x[theirs[0][0]])
        return DAMPING * total

    for _ in range(120):
        x = {
            name: float(np.mean([{"fraud": 1.0, "cleared": 0.0, None: from_payment(at)}[verdict[at]] for at in all_]))
            for name, all_ in of_account.items()
        }
    return {at: from_payment(at) for at in rows}
