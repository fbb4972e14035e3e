"""Claims about events on their way to int64."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.engine.prepare import EntityKeys, entity_key
from fraud_assets.features.sources import Entity

PAIR = Entity("account_device", ("account_id", "device_id"))
TEXT = st.text(st.sampled_from("ab|%27C"), min_size=1, max_size=6)


def key_of(account: str | None, device: str | None) -> str | None:
    event: Any = SimpleNamespace(account_id=account, device_id=device)
    return entity_key(PAIR, event)


@given(TEXT, TEXT, TEXT, TEXT)
def test_no_two_pairs_share_a_key(account: str, device: str, other_account: str, other_device: str) -> None:
    """A client that may choose its own ids cannot make two pairs one by writing the separator."""
    same_pair = (account, device) == (other_account, other_device)

    assert (key_of(account, device) == key_of(other_account, other_device)) == same_pair


@pytest.mark.parametrize(("account", "device"), [(None, "d"), ("a", None)])
def test_an_event_that_names_half_a_pair_names_none(account: str | None, device: str | None) -> None:
    """A payment without a card is no payment of the pair (account, nothing)."""
    assert key_of(account, device) is None


@given(st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT, st.integers(-9, 9)), min_size=1, max_size=4))
def test_keys_of_many_events_are_those_of_each(rows: list[tuple[str | None, str | None, int]]) -> None:
    """A batch finds what its payments would find alone."""
    fields = [("device_id",), ("account_id", "device_id"), ("account_id",), ("tickets", "account_id", "device_id")]
    entities = [Entity(f"e{number}", keys) for number, keys in enumerate(fields)]
    events: list[Any] = [SimpleNamespace(account_id=a, device_id=d, tickets=n) for a, d, n in rows]

    assert EntityKeys(entities).of(events) == [[entity_key(one, event) for event in events] for one in entities]


def test_a_pairs_key_is_written_as_stores_and_topics_have_it() -> None:
    """What is stored already was written so; numbers are keys too."""
    event: Any = SimpleNamespace(plain="a", bar="b|c", percent="7%C", number=7)
    keys = [
        entity_key(Entity("some", names), event)
        for names in (
            ("plain", "plain"),
            ("plain", "bar"),
            ("percent", "number"),
            ("number", "bar", "percent"),
            ("bar",),
        )
    ]

    assert keys == ["a|a", "a|b%7Cc", "7%25C|7", "7|b%7Cc|7%25C", "b|c"]
