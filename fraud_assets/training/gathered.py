"""What a look of the guard adds to what it has gathered: new decisions and newly settled labels, each once, from a place that is kept."""

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.rollout.guard import Gathered, Guard
from fraud_assets.rollout.machine import HOUR_MS
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.tail import Tail, moved, unread
from fraud_assets.training.settled import SETTLED_MS, matured_of
from fraud_assets.training.trial import COLUMNS, FOLLOWED_MS, Trial, counts, scored_of

# A payment is decided when it happens. Decisions on older ones are replays, and are not looked for.
LATEST_MS = DAY_MS
# Decisions of one look: a second's work. A guard that is switched on late, or was off for days, catches up look by look, and each must
# end within the minute that Dagster gives a sensor.
AT_ONCE = 200_000
# Labels are read by the hour of their payments; while the stage that makes them is behind, nobody asks at each look.
LABELS_EVERY_MS = 10 * 60_000


class Place(msgspec.Struct, frozen=True):
    """Up to where a phase's evidence has been gathered; JSON-able.

    tail: of the decisions. decided_ms: of the newest of them. matured_ms: payments before it were shown with their label.
    asked_ms: when it was last asked in vain whether later ones are settled.
    """

    gathered: Gathered
    tail: Tail
    decided_ms: int
    matured_ms: int
    asked_ms: int = 0


def first_place(guard: Guard, trial: Trial, delay_ms: int) -> Place:
    """Of a phase of which nothing was seen yet; payments from before the rollout have no part in it."""
    since_ms = trial.rollout.since_ms
    matured_ms = max(since_ms - delay_ms - SETTLED_MS, trial.begun_ms) // HOUR_MS * HOUR_MS
    return Place(guard.begin(trial.rollout), Tail(), since_ms, matured_ms)


def fold_new(guard: Guard, trial: Trial, place: Place, lake: Lake, delay_ms: int, now_ms: int) -> tuple[Place, bool]:
    """The place after what the lake has got since, AT_ONCE decisions at most; and whether that was all."""
    place, is_all = _with_decisions(guard, trial, place, lake, now_ms)
    return _with_labels(guard, trial, place, lake, delay_ms, now_ms), is_all


def _with_decisions(guard: Guard, trial: Trial, place: Place, lake: Lake, now_ms: int) -> tuple[Place, bool]:
    """Files of three days at most, so that who was off for a week does not read all of it at each look."""
    until_ms = place.decided_ms // DAY_MS * DAY_MS + 2 * DAY_MS - 1
    found = unread(lake, "decisions", place.tail, place.decided_ms - LATEST_MS, until_ms, COLUMNS)
    # What came before the phase is of no use to it, and would fill its first looks.
    rows = found.rows.filter(pc.greater_equal(found.rows["decided_at_ms"], trial.rollout.since_ms))
    new = rows.slice(0, AT_ONCE)  # in log order, so of each partition the first ones
    is_all = len(new) == len(rows)
    tail = moved(place.tail, found.rows, found.seen) if is_all else moved(place.tail, new)
    counted = new.filter(pa.array(counts(trial, new, trial.rollout.since_ms + FOLLOWED_MS)))
    gathered = guard.fold(place.gathered, scored=scored_of(trial, counted))
    newest = min(pc.max(new["decided_at_ms"]).as_py() or place.decided_ms, now_ms)  # a scorer's clock may be ahead
    decided_ms = max(newest, place.decided_ms)
    if is_all and until_ms < now_ms:  # a day without payments, or the last one of many
        decided_ms, is_all = max(decided_ms, until_ms + 1 - DAY_MS), False
    return msgspec.structs.replace(place, gathered=gathered, tail=tail, decided_ms=decided_ms), is_all


def _with_labels(guard: Guard, trial: Trial, place: Place, lake: Lake, delay_ms: int, now_ms: int) -> Place:
    if now_ms - place.asked_ms < LABELS_EVERY_MS:
        return place
    matured, until_ms = matured_of(trial, lake, place.matured_ms, delay_ms, now_ms)
    gathered = guard.fold(place.gathered, matured=matured) if matured is not None else place.gathered
    asked_ms = place.asked_ms if until_ms > place.matured_ms else now_ms
    return msgspec.structs.replace(place, gathered=gathered, matured_ms=until_ms, asked_ms=asked_ms)
