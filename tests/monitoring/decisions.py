"""Decisions made as the scorer makes them: states from a store, one read, one record."""

import struct
from collections.abc import Mapping, Sequence
from itertools import starmap

import msgspec
import numpy as np
import pyarrow as pa

from fraud_assets.contracts.events import Decision, Explanation, OfDecision, StatesRead, Transaction
from fraud_assets.engine.plan import PARTITION_BITS
from fraud_assets.engine.prepare import entity_key
from fraud_assets.engine.request import RequestReader
from fraud_assets.engine.state import StateEngine
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_port import OnlineStates
from fraud_assets.stores.schemas import to_events
from fraud_assets.stores.served import served_vector
from fraud_assets.stores.snapshot import events_until, publish_snapshot
from tests.history import Past


def decided_at(past: Past, cut_ms: int, to_ms: int, count: int) -> tuple[pa.Table, list[Decision]]:
    """The first transactions of [cut, to), and decisions on them from a snapshot as of the cut, made at the cut itself:
    the states have seen none of them, and hold all there was.
    """
    store = MemoryStore(past.plan.registry)
    events = events_until(past.lake, past.plan, cut_ms)
    publish_snapshot(store, past.plan, events, epoch="e1", log="test", resume={}, now_ms=cut_ms)
    rows = past.lake.scan("transactions", cut_ms, to_ms).slice(0, count)
    scored = to_events(Transaction, rows.select(Transaction.__struct_fields__))
    return rows, decide(past, store, scored, [cut_ms] * count)


def other_value(past: Past, decision: Decision, feature: str) -> Decision:
    """The same decision, served the next float32 of one feature."""
    values = np.nan_to_num(served_vector(decision))
    place = past.service.names.index(feature)
    return with_value(decision, place, float(np.nextafter(values[place], np.float32(np.inf))))


def with_value(decision: Decision, place: int, value: float) -> Decision:
    """The same decision, served another value in this place."""
    values = served_vector(decision).copy()
    values[place] = value
    return msgspec.structs.replace(decision, vector=values.tobytes())


def decide(past: Past, store: OnlineStates, events: Sequence[Transaction], decided_ms: Sequence[int]) -> list[Decision]:
    """One decision for each event from the store's states as they are."""
    reader = RequestReader(past.service)
    engines = {group.name: StateEngine(past.plan, group) for group in past.service.groups}
    digest = past.plan.registry.service_digest(past.service.service)
    epoch = store.current_epoch().epoch
    made = []
    for number, (event, at) in enumerate(zip(events, decided_ms, strict=True)):
        states, keys, versions, positions = [], list[str | None](), list[int](), list[bytes]()
        for group in past.service.groups:
            key = entity_key(group.group.entity, event)
            held = store.read_many(group.name, [key])[0] if key is not None else None
            states.append(held.packed if held else None)
            keys.append(key)
            versions.append(held.version if held else 0)
            positions.append(in_codes(past, engines[group.name].position(held.packed)) if held else b"")
        served = reader.read(states, event, event.event_time_ms, event.transaction_id)
        request = {name: getattr(event, name) for name in Transaction.__struct_fields__ if name != "outcome"}
        made.append(
            Decision(
                event_time_ms=event.event_time_ms,
                decision_id=f"dec-{number}",
                transaction_id=event.transaction_id,
                account_id=event.account_id,
                request=request,
                decided_at_ms=at,
                service="fraud_scoring",
                service_digest=digest,
                policy_digest="",
                model_version="",
                model_sha256="",
                epoch=epoch,
                vector=served.features.tobytes(),
                view_codes=bytes(served.status),
                states=[],
                states_read=StatesRead(
                    groups=[group.name for group in past.service.groups],
                    keys=keys,
                    versions=versions,
                    positions=positions,
                    topics=list(past.plan.registry.topics),
                    partition_bits=PARTITION_BITS,
                ),
                fraud_score=0.1,
                action="approve",
                reason_codes=[],
                degraded_reasons=[],
                self_included=served.self_included,
                latency_ms=1.0,
            )
        )
    return made


def in_codes(past: Past, position: Mapping[str, int]) -> bytes:
    """As a decision's `states_read` has it."""
    parted = [(name.rpartition("/"), offset) for name, offset in position.items()]
    pairs = [(past.plan.topic_code(topic, int(number)), offset) for (topic, _, number), offset in parted]
    return b"".join(starmap(struct.Struct("<qq").pack, pairs))


def explanation_of(decision: Decision) -> Explanation:
    """One that says nothing moved the score."""
    return Explanation(
        **{name: getattr(decision, name) for name in OfDecision.__struct_fields__},
        base_value=-2.0,
        contributions=[0.0] * len(served_vector(decision)),
        margin=-2.0,
        top_features={},
    )
