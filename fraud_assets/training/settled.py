"""Payments whose label is settled, fraud or legitimate alike: what of a version's decisions turned out to be wrong."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.policy.policy import Action
from fraud_assets.rollout.guard import Matured
from fraud_assets.rollout.machine import HOUR_MS
from fraud_assets.stores.decided import scores_by
from fraud_assets.stores.identity import identities
from fraud_assets.stores.lake import Lake
from fraud_assets.training.trial import COLUMNS, FOLLOWED_MS, Trial, counts
from fraud_assets.training.verdicts import FACT_COLUMNS, verdicts

# How long the label stage and its sink may take after a label was due, before anybody asks whether they were longer.
SETTLED_MS = HOUR_MS
# Payments of one look: a guard that was off for days catches up look by look.
LONGEST_MS = 6 * HOUR_MS
# A legitimate fact that stands when the delay of its payment was over is one by silence. A person's word may come at that moment too, but is rare.
AT_ITS_TIME_MS = 60_000


def matured_of(trial: Trial, lake: Lake, from_ms: int, delay_ms: int, now_ms: int) -> tuple[Matured | None, int]:
    """Payments from `from_ms` on that were let through, with their label, by whole hours; and up to where they are settled.

    None, and `from_ms`, where no further hour is. Decisions since the rollout began count, also of the phase before: their labels are
    news of this one. Not as labels come: fraud is reported within days and what nobody reports becomes legitimate when the label delay is over,
    so the first labels of a day are nearly all fraud, and stay so for as long as the label stage is behind.
    """
    due_ms = now_ms - delay_ms
    found = _settled(trial, lake, from_ms, min(due_ms, from_ms + LONGEST_MS + SETTLED_MS), delay_ms)
    if found[1] == from_ms and due_ms > from_ms + LONGEST_MS + SETTLED_MS:
        # A quiet partition may have had frauds alone in these hours: what came later tells whether its stage has come past them.
        found = _settled(trial, lake, from_ms, due_ms, delay_ms)
    return found


def _settled(trial: Trial, lake: Lake, from_ms: int, due_ms: int, delay_ms: int) -> tuple[Matured | None, int]:
    """As `matured_of`, of payments before `due_ms`."""
    last_ms = _hour(due_ms - SETTLED_MS)
    if last_ms <= from_ms:
        return None, from_ms
    rows = lake.scan("decisions", from_ms, due_ms, columns=COLUMNS)
    if not len(rows):  # no payment, no label to wait for
        return None, last_ms
    among = ("transaction_id", pc.unique(rows["transaction_id"]))
    columns = list(dict.fromkeys([*FACT_COLUMNS, "event_time_ms", "amount_minor", "source_topic", "source_partition"]))
    facts = lake.scan("label_facts", from_ms, columns=columns, among=among)
    until_ms = min(last_ms, _hour(settled_ms(rows, facts, delay_ms)))
    if until_ms <= from_ms:
        return None, from_ms
    early = rows.filter(pc.less(rows["event_time_ms"], until_ms)).sort_by("event_time_ms")
    return _matured(trial, early.filter(pa.array(counts(trial, early, trial.begun_ms + FOLLOWED_MS))), facts), until_ms


def settled_ms(rows: pa.Table, facts: pa.Table, delay_ms: int) -> int:
    """Payments before that have become legitimate if nobody spoke of them: so far has the label stage come; 0 if it cannot be told.

    rows: decisions. facts: of these payments. If each of them has one, it has come past the last. Else each partition of the facts is a
    stage of its own, the one that is furthest behind counts, and one of which only frauds have come is behind all of these payments.
    """
    names, payments = identities(facts), identities(rows)
    if pc.all(pc.is_in(payments, value_set=names)).as_py():
        return int(pc.max(rows["event_time_ms"]).as_py()) + HOUR_MS
    times = dict(zip(payments.to_pylist(), rows["event_time_ms"].to_pylist(), strict=True))
    paid_ms = np.array([times.get(name, 0) for name in names.to_pylist()], np.int64)
    legitimate = ~facts["is_fraud"].to_numpy() & (facts["sign"].to_numpy() > 0) & (paid_ms > 0)
    on_time = np.abs(facts["event_time_ms"].to_numpy() - (paid_ms + delay_ms)) <= AT_ITS_TIME_MS
    found = pa.table(
        {
            "topic": facts["source_topic"],
            "partition": facts["source_partition"],
            "ms": np.where(legitimate & on_time, paid_ms, 0),
        }
    )
    newest = found.group_by(["topic", "partition"]).aggregate([("ms", "max")])["ms_max"]
    return int(pc.min(newest).as_py() or 0)


def _matured(trial: Trial, rows: pa.Table, facts: pa.Table) -> Matured:
    """Of payments that were let through and have a label, each once."""
    known = verdicts(facts)
    amounts = dict(zip(identities(facts).to_pylist(), facts["amount_minor"].to_pylist(), strict=True))
    scores, let = scores_by(trial.tried.model_version, rows), rows["action"].to_numpy() != Action.DENY
    names, once = identities(rows).to_pylist(), set()
    places = []
    for place, name in enumerate(names):
        if let[place] and np.isfinite(scores[place]) and name in known and name not in once:
            once.add(name)
            places.append(place)
    denied: npt.NDArray[np.bool_] = scores[places] >= trial.tried.thresholds.deny
    return Matured(
        is_fraud=np.array([known[names[place]] == 1 for place in places], bool),
        denied=denied,
        amount_minor=np.array([amounts[names[place]] for place in places], np.float64),
    )


def _hour(ms: int) -> int:
    return ms // HOUR_MS * HOUR_MS
