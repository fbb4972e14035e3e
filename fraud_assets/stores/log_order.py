"""Rows in log order, each log position once; and which rows a reader asked for."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def asked_of(
    rows: pa.Table, from_ms: int | None, to_ms: int | None, as_known_at_ms: int | None, duplicates: bool
) -> npt.NDArray[np.bool_]:
    """(n,) whether a row is in the half-open range, had arrived, and is wanted."""
    time, arrival = rows["event_time_ms"].to_numpy(), rows["ingested_at_ms"].to_numpy()
    asked = np.ones(len(rows), bool)
    if from_ms is not None:
        asked &= time >= from_ms
    if to_ms is not None:
        asked &= time < to_ms
    if as_known_at_ms is not None:
        asked &= arrival < as_known_at_ms
    if not duplicates:
        asked &= ~rows["is_duplicate"].to_numpy()
    return asked


def _log_keys(rows: pa.Table) -> list[npt.NDArray[np.int64]]:
    """The log order's columns as integers, most significant first; topics by their lexical rank."""
    topics = rows["source_topic"].combine_chunks().dictionary_encode()
    if isinstance(topics, pa.ChunkedArray):
        topics = topics.combine_chunks()
    rank = np.argsort(np.argsort(np.array(topics.dictionary.to_pylist(), dtype=object)))
    codes = rank[topics.indices.to_numpy(zero_copy_only=False)] if len(rank) else np.empty(0, np.int64)
    return [
        rows["ingested_at_ms"].to_numpy(),
        codes.astype(np.int64),
        rows["source_partition"].to_numpy().astype(np.int64),
        rows["source_offset"].to_numpy(),
    ]


def log_order(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Indices that put `rows` into log order."""
    return np.lexsort(_log_keys(rows)[::-1]).astype(np.int64)


def in_log_order(rows: pa.Table) -> pa.Table:
    """Most scans find it so already: files are sorted, and days follow one another."""
    order = log_order(rows)
    return rows if (np.diff(order) > 0).all() else rows.combine_chunks().take(order)


def where(rows: pa.Table, kept: npt.NDArray[np.bool_]) -> pa.Table:
    return rows if kept.all() else rows.filter(pa.array(kept))


def without_replayed(rows: pa.Table) -> pa.Table:
    """One row per log position: a worker that died, or fell out of its group, may have left a row in two files.

    Only what has the same place in log order is one row. A position that arrived twice is a defect, which a data-quality check finds.
    """
    _, topic, partition, offset = _log_keys(rows)
    again = np.zeros(len(topic), bool)
    again[1:] = (np.diff(topic) == 0) & (np.diff(partition) == 0) & (np.diff(offset) == 0)
    return where(rows, ~again)
