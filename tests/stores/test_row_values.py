"""Rows as Python's values: what Arrow's own conversion gives, to the bit, of any part of a table."""

import struct

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts.events import Decision, ViewStatus
from fraud_assets.stores.row_values import rows_of
from fraud_assets.stores.schemas import LogPosition, from_events, to_events
from tests.contracts.test_chain import chain

NUMBERS = pa.list_(pa.float64())
STATE = pa.struct([pa.field("key", pa.string()), pa.field("position", pa.map_(pa.string(), pa.int64()))])
ROW = pa.schema(
    {
        "numbers": NUMBERS,
        "lists": pa.list_(NUMBERS),
        "states": pa.list_(STATE),
        "state": STATE,
        "map": pa.map_(pa.string(), pa.float64()),
        "flag": pa.bool_(),
        "count": pa.int64(),
        "text": pa.string(),
    }
)
# Any bits: also the 2**53 that are no number, which a detour over another width would make one.
floats = st.none() | st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("d", struct.pack("Q", bits))[0])
integers = st.none() | st.integers(-(2**63), 2**63 - 1)
texts = st.none() | st.text(max_size=3)
numbers = st.none() | st.lists(floats, max_size=4)
maps = st.dictionaries(st.text(max_size=2), floats, max_size=3).map(lambda made: list(made.items()))
positions = st.dictionaries(st.text(max_size=2), integers, max_size=3).map(lambda made: list(made.items()))
states = st.none() | st.fixed_dictionaries({"key": texts, "position": st.none() | positions})
rows = st.fixed_dictionaries(
    {
        "numbers": numbers,
        "lists": st.none() | st.lists(numbers, max_size=3),
        "states": st.none() | st.lists(states, max_size=3),
        "state": states,
        "map": st.none() | maps,
        "flag": st.none() | st.booleans(),
        "count": integers,
        "text": texts,
    }
)


def bits(value: object) -> object:
    """Equal only for what is equal to the bit: a value that is no number differs from itself, and 0.0 equals -0.0."""
    if isinstance(value, float):
        return struct.pack("d", value)
    if isinstance(value, dict):
        return {name: bits(one) for name, one in value.items()}
    return [bits(one) for one in value] if isinstance(value, list) else (type(value), value)


@given(st.lists(rows, max_size=6), st.integers(0, 3), st.integers(0, 6), st.integers(1, 3))
def test_rows_are_those_of_arrow_to_the_bit(made: list[dict[str, object]], first: int, count: int, chunks: int) -> None:
    whole = pa.Table.from_pylist(made, ROW)
    table = pa.concat_tables([whole.slice(first, count)] * chunks)

    assert bits(rows_of(table)) == bits(table.to_pylist(maps_as_pydicts="strict"))


def test_a_map_that_has_one_key_twice_is_refused() -> None:
    """One of the two would win unseen."""
    table = pa.table({"map": pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))})

    with pytest.raises(KeyError, match="one key twice"):
        rows_of(table)


def test_a_decision_of_a_part_of_a_table_is_itself() -> None:
    made = [msgspec.structs.replace(one, view_status={"v": ViewStatus.STALE}) for one in chain(5)]
    table = from_events(Decision, made, [LogPosition(n, "t", 0, n) for n in range(5)])

    assert to_events(Decision, table.slice(2, 2)) == made[2:4]
