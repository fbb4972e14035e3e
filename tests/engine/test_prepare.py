"""Claims about events on their way to int64."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.engine.prepare import entity_key
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
