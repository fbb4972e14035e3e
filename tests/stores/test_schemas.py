"""Schemas: every contract has a table whose rows become the same structs again."""

from typing import Annotated

import msgspec
import pyarrow as pa
import pytest

from fraud_assets.contracts.events import Decision, Event, LabelFact, StateRead, StatesRead, Transaction, ViewStatus
from fraud_assets.contracts.topics import RAW_TOPICS
from fraud_assets.stores.schemas import (
    LOG_ORDER,
    TABLES,
    LogPosition,
    UnmappedType,
    arrow_schema,
    from_events,
    to_events,
)

POSITION = LogPosition(5, "topic.v1", 3, 7)


@pytest.mark.parametrize("contract", TABLES.values(), ids=TABLES)
def test_schema_has_the_contracts_fields_in_order_and_the_position(contract: type[msgspec.Struct]) -> None:
    """Columns are the contract's own names; the log position follows."""
    names = arrow_schema(contract).names

    assert names[: len(contract.__struct_fields__)] == list(contract.__struct_fields__)
    assert names[len(contract.__struct_fields__) :] == [*LOG_ORDER, "is_duplicate"]


def test_every_raw_topic_has_a_table() -> None:
    """What the worker's sink receives, it can store."""
    assert {topic.contract for topic in RAW_TOPICS} <= set(TABLES.values())


def test_only_optional_fields_are_nullable() -> None:
    """Nullability is the contract's, so a null in a required column is caught at the write."""
    schema = arrow_schema(Transaction)

    assert {field.name for field in schema if field.nullable} == {"card_token", "email_token", "lat_e6", "lon_e6"}


def test_enums_are_text_and_numbers_are_int64() -> None:
    """Columns read the same in DuckDB, Polars and Spark: no dictionary codes, no unsigned types."""
    schema = arrow_schema(LabelFact)

    assert schema.field("category").type == pa.string()
    assert schema.field("amount_minor").type == pa.int64()


def test_nested_decision_survives_the_table() -> None:
    """Lists, maps, structs, bytes, free-form request and nulls inside features come back equal."""
    decision = Decision(
        event_time_ms=1,
        decision_id="d1",
        transaction_id="t1",
        account_id="a1",
        request={"a": {"b": [1, None, "x"]}},
        decided_at_ms=2,
        service="fraud_scoring",
        service_digest="x",
        policy_digest="x",
        model_version="1",
        model_sha256="x",
        epoch="1",
        features=[0.1 + 0.2, None, -1e300],
        view_status={"v": ViewStatus.STALE},
        states=[StateRead(group="account", entity_key="a1", version=1, position={"transactions.v1/0": 7})],
        fraud_score=0.25,
        shadow_scores={"challenger": 0.5},
        action="review",
        reason_codes=["r1", "r2"],
        degraded_reasons=[],
        latency_ms=1.5,
    )

    read = StatesRead(
        groups=["account", "card"], keys=["a1", None], versions=[1, 0], positions=[bytes(range(32)), b""],
        topics=["transactions.v1"], partition_bits=20,
    )  # fmt: skip
    of_today = msgspec.structs.replace(
        decision, features=[], vector=bytes(range(256)), view_status={}, view_codes=b"\0\2", states=[], states_read=read
    )
    degraded = msgspec.structs.replace(of_today, states_read=None)

    table = from_events(Decision, [decision, of_today, degraded], [POSITION] * 3)

    assert to_events(Decision, table) == [decision, of_today, degraded]
    assert to_events(Decision, table.slice(1, 1)) == [of_today]
    assert table.slice(0, 1).select([*LOG_ORDER]).to_pylist() == [
        {"ingested_at_ms": 5, "source_topic": "topic.v1", "source_partition": 3, "source_offset": 7}
    ]


def test_events_and_positions_must_pair_up() -> None:
    """A row with somebody else's position would be replayed wrongly for ever."""
    with pytest.raises(ValueError, match="1 positions"):
        from_events(Transaction, [], [POSITION])


def test_field_without_a_column_type_says_where_to_declare_it() -> None:
    """A new kind of field fails when the schema is made, not when the sink first meets it."""

    class Odd(Event, frozen=True, kw_only=True):
        when: Annotated[complex, msgspec.Meta(description="no column")]

    with pytest.raises(UnmappedType, match=r"Odd\.when .*schemas\.py"):
        arrow_schema(Odd)
