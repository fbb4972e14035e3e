"""Decisions made as the scorer makes them: states from a store, one read, one record."""

from collections.abc import Sequence

import numpy as np

from fraud_assets.contracts.events import Decision, StateRead, Transaction
from fraud_assets.engine.prepare import entity_key
from fraud_assets.engine.request import RequestReader
from fraud_assets.engine.state import StateEngine
from fraud_assets.stores.online_port import OnlineStates
from tests.history import Past


def decide(past: Past, store: OnlineStates, events: Sequence[Transaction], decided_ms: Sequence[int]) -> list[Decision]:
    """One decision for each event from the store's states as they are."""
    reader = RequestReader(past.service)
    engines = {group.name: StateEngine(past.plan, group) for group in past.service.groups}
    digest = past.plan.registry.service_digest(past.service.service)
    epoch = store.current_epoch().epoch
    made = []
    for number, (event, at) in enumerate(zip(events, decided_ms, strict=True)):
        states, reads = [], []
        for group in past.service.groups:
            key = entity_key(group.group.entity, event)
            held = store.read_many(group.name, [key])[0] if key is not None else None
            states.append(held.packed if held else None)
            if key is not None:
                position = engines[group.name].position(held.packed) if held else {}
                reads.append(
                    StateRead(group=group.name, entity_key=key, version=held.version if held else 0, position=position)
                )
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
                features=[None if np.isnan(value) else float(value) for value in served.features.tolist()],
                view_status={},
                states=reads,
                fraud_score=0.1,
                action="approve",
                reason_codes=[],
                degraded_reasons=[],
                self_included=served.self_included,
                latency_ms=1.0,
            )
        )
    return made
