"""Decisions of a real model for tests: each with the vector it was made from and the score that vector has."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Decision, StatesRead
from fraud_assets.contracts.topics import DECISIONS
from fraud_assets.models.manifest import sha256
from fraud_assets.models.trees import Trees
from fraud_assets.stores.served import served_states
from streaming.core.records import Record
from streaming.core.sources import MAX_DECISION_BYTES
from tests.streaming.events import T0


def decisions(booster_json: bytes, rows: np.ndarray, version: str = "v1", **changed: Any) -> list[Decision]:
    """One for each of rows (n, n_features) float32, NaN for null; ids dec-0, …, of ten accounts."""
    trees, digest = Trees.parse(booster_json), sha256(booster_json)
    usual = Decision(
        event_time_ms=T0,
        decision_id="dec-0",
        transaction_id="t0",
        account_id="a0",
        request={"transaction_id": "t0", "amount_minor": 4200},
        decided_at_ms=T0 + 5,
        service="fraud_scoring",
        service_digest="d" * 64,
        policy_digest="p" * 64,
        model_version=version,
        model_sha256=digest,
        epoch="e1",
        view_codes=b"\0\2",
        states=[],
        states_read=StatesRead(
            groups=["account", "card"],
            keys=["a1", None],
            versions=[7, 0],
            positions=[struct.pack("<qq", 3, 41), b""],
            topics=["transactions.v1"],
            partition_bits=20,
        ),
        fraud_score=0.0,
        action="approve",
        reason_codes=[],
        degraded_reasons=[],
        latency_ms=1.25,
    )
    made = [
        msgspec.structs.replace(
            usual,
            event_time_ms=T0 + place,
            decision_id=f"dec-{place}",
            transaction_id=f"t{place}",
            account_id=f"a{place % 10}",
            vector=row.tobytes(),
            fraud_score=trees.score(row),
            **changed,
        )
        for place, row in enumerate(rows.astype(np.float32))
    ]
    return [msgspec.json.decode(raw(one), type=Decision) for one in made]


def before(decision: Decision) -> Decision:
    """The same decision as a scorer wrote it when vectors were numbers and states had names."""
    assert decision.vector is not None
    return msgspec.structs.replace(
        decision, vector=None, features=nulls(np.frombuffer(decision.vector, "<f4")), states=served_states(decision),
        states_read=None, view_codes=None,
    )  # fmt: skip


def nulls(row: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in row.tolist()]


def raw(decision: Decision) -> bytes:
    return encode(decision, max_bytes=MAX_DECISION_BYTES)


def records(made: Sequence[Decision], first_offset: int = 0, arrival_ms: int = T0 + 1000) -> list[Record]:
    """Records of the decisions' topic, in partition 0."""
    return [
        Record(DECISIONS.name, 0, first_offset + place, arrival_ms, one.account_id.encode(), raw(one))
        for place, one in enumerate(made)
    ]
