"""Stale reads: states that lacked an event which had arrived well before the decision."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fraud_assets.engine.batch import Log, Position
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import GroupPlan, Ints, ServicePlan
from fraud_assets.engine.prepare import Columns

# The freshness that the live path promises from append to readable state.
PROMISED_MS = 1_000


def stale_reads(
    service: ServicePlan,
    log: Log,
    scored: Columns,
    decided_ms: Ints,
    positions: Sequence[dict[str, Position]],
    promised_ms: int = PROMISED_MS,
) -> npt.NDArray[np.bool_]:
    """(n,) whether some state of each decision lacked an event of its key that it should have held.

    decided_ms: (n,) on the broker's clock. positions: per decision and view group, its logged P.
    """
    found = np.zeros(len(decided_ms), np.bool_)
    for group in service.groups:
        held = [row.get(group.name, {}) for row in positions]
        found |= _stale_in(service, group, log, scored, decided_ms - promised_ms, held)
    return found


def _stale_in(
    service: ServicePlan, group: GroupPlan, log: Log, scored: Columns, limit_ms: Ints, held: Sequence[Position]
) -> npt.NDArray[np.bool_]:
    entity = group.group.entity
    wanted = scored.keys(entity)
    codes, code = np.unique(wanted, return_inverse=True)
    found = np.zeros(len(wanted), np.bool_)
    for source in group.sources:
        if source.name not in log.columns:
            continue
        events = log.columns[source.name]
        keys = events.keys(entity)
        place = np.minimum(np.searchsorted(codes, keys), len(codes) - 1)
        mine = np.flatnonzero((codes[place] == keys) & (keys != NULL))
        for tp in np.unique(events.tp[mine]):
            rows = mine[events.tp[mine] == tp]
            newest = _newest_offset(place[rows], events.arrival_ms[rows], events.offset[rows], code, limit_ms)
            topic, _, partition = service.engine.topic_name(int(tp)).rpartition("/")
            seen = np.array([position.get((topic, int(partition)), -1) for position in held], np.int64)
            found |= newest > seen
    known: npt.NDArray[np.bool_] = found & (wanted != NULL)
    return known


def _newest_offset(key: Ints, arrival_ms: Ints, offset: Ints, wanted: Ints, limit_ms: Ints) -> Ints:
    """(n_wanted,) offset of the last event of each wanted key that arrived before the limit, -1 for none.

    Within one partition offsets ascend with arrival, so the last one decides.
    """
    order = np.lexsort((offset, arrival_ms, key))
    key, arrival_ms, offset = key[order], arrival_ms[order], offset[order]
    # One integer for (key, arrival): 28 bits of key, 35 of milliseconds since the first, a year.
    first = int(arrival_ms.min()) if len(arrival_ms) else 0
    span = int(arrival_ms.max()) - first + 2 if len(arrival_ms) else 1
    at = np.searchsorted(key * span + (arrival_ms - first), wanted * span + np.clip(limit_ms - first, 0, span - 1)) - 1
    exists = (at >= 0) & (key[np.maximum(at, 0)] == wanted) if len(key) else np.zeros(len(wanted), np.bool_)
    return np.where(exists, offset[np.maximum(at, 0)] if len(key) else -1, -1).astype(np.int64)
