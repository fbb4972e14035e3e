"""The two ways of filling the online store from the lake, from the settings to the report."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fraud_assets.contracts.topics import DAY_MS, RAW_TOPICS, entity_topic
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.log_ends import LastRow, Resume, resume_after
from fraud_assets.stores.online_port import EpochMarker, NoEpoch, OnlineStates, PartLost, Withdrawn
from fraud_assets.stores.snapshot import GroupReport, events_until, publish_behind, publish_snapshot
from fraud_assets.stores.state_files import StateFiles

# Before an epoch is read, its states were complete to within the lake's own lag; a day is far more.
OVERLAP_MS = DAY_MS


@dataclass(frozen=True)
class Snapshot:
    marker: EpochMarker
    groups: dict[str, GroupReport]
    dropped: int


def snapshot(
    lake: Lake, plan: EnginePlan, store: OnlineStates, bootstrap_servers: str, as_known_at_ms: int, now_ms: int
) -> Snapshot:
    """Publish all entity state as of an arrival time under a new epoch, and drop the former one.

    A snapshot of the past is complete too: the log holds what came after, and the offsets to resume
    from are chosen for it. Repeating it publishes the same states under another name. The states are kept
    beside the lake, so that a store that is emptied later needs no folding (`restore`).
    """
    former, _ = held(store)
    ends = lake_ends(lake, plan, as_known_at_ms)
    resume = _resume(plan, bootstrap_servers, ends, min(now_ms, as_known_at_ms))
    events = events_until(lake, plan, as_known_at_ms)
    epoch = f"{np.datetime64(min(as_known_at_ms - 1, now_ms), 'ms').astype('datetime64[D]')}-{uuid.uuid4().hex[:8]}"
    files = StateFiles(lake.uri)
    kept = files.writer(epoch)
    log, offsets = resume.log or "lake", resume.offsets
    marker, groups = publish_snapshot(
        store, plan, events, epoch=epoch, log=log, resume=offsets, topics=resume.topics, now_ms=now_ms, keep=kept.add
    )
    kept.finish(marker)
    files.drop_old()
    return Snapshot(marker, groups, store.drop_epoch(former) if former else 0)


def catch_up(lake: Lake, plan: EnginePlan, store: OnlineStates) -> dict[str, GroupReport]:
    """Fold what the lake got since the epoch was published into the states that lack it. Raises NoEpoch."""
    marker = store.current_epoch()
    return publish_behind(store, plan, events_until(lake, plan, None, marker.published_at_ms - OVERLAP_MS))


def lake_ends(lake: Lake, plan: EnginePlan, as_known_at_ms: int) -> dict[tuple[str, int], LastRow]:
    """(topic, partition) to (offset, arrival ms) of the lake's last row; duplicates count, they are in the log."""
    found: dict[tuple[str, int], LastRow] = {}
    columns = ["source_topic", "source_partition", "source_offset", "ingested_at_ms"]
    for source in plan.sources:
        rows = lake.scan(source.table, as_known_at_ms=as_known_at_ms, columns=columns, duplicates=True)
        found |= _last_rows(rows)
    return found


def _last_rows(rows: pa.Table) -> Mapping[tuple[str, int], LastRow]:
    last = rows.group_by(["source_topic", "source_partition"]).aggregate(
        [("source_offset", "max"), ("ingested_at_ms", "max")]
    )
    return {
        (row["source_topic"], row["source_partition"]): (row["source_offset_max"], row["ingested_at_ms_max"])
        for row in last.to_pylist()
    }


def _resume(plan: EnginePlan, bootstrap_servers: str, ends: Mapping[tuple[str, int], LastRow], now_ms: int) -> Resume:
    entity_topics = [entity_topic(group.name).name for group in plan.groups]
    return resume_after(bootstrap_servers, [topic.name for topic in RAW_TOPICS], entity_topics, ends, now_ms)


def held(store: OnlineStates) -> tuple[str, bool]:
    """The epoch whose states the store holds, if any, and whether somebody may be serving it: another version, if not this one."""
    try:
        return store.current_epoch().epoch, True
    except (Withdrawn, PartLost) as found:
        return found.epoch, False
    except NoEpoch as found:
        return found.epoch, bool(found.epoch)
