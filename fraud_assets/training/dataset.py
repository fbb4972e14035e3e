"""The training set as of a time: what was known then, and nothing that was learnt later.

Two clocks decide. Event time chooses the window of transactions; arrival time hides every row,
label and decision that the platform did not have yet. Built again years later as of the same time it has
the same digest.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.batch import Log, Position, Spine, vector_chunks
from fraud_assets.engine.plan import ServicePlan
from fraud_assets.policy.policy import Action
from fraud_assets.stores.frames import to_arrow
from fraud_assets.stores.history import HistoryReader, rows_between
from fraud_assets.stores.identity import identities
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.stores.positions import STATE_COLUMNS, readable_positions
from fraud_assets.training.verdicts import spoken_of, verdicts_as_known

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
# Rows (ROW_COLUMNS) and their verdicts, (n,) 1 fraud or 0, to how much each counts.
Weigh = Callable[[pa.Table, npt.NDArray[np.int8]], npt.NDArray[np.floating]]

# What a training row carries beside its features; enough to split, to cost a mistake, and to trace.
ROW_COLUMNS = ("transaction_id", "account_id", "event_time_ms", "amount_minor", "currency")
ROW_PREFIX = "row_"
WEIGHT = f"{ROW_PREFIX}weight"
DECISION_COLUMNS = ("account_id", "transaction_id", "service_digest", *STATE_COLUMNS, "self_included", "action")


class NoLabels(ValueError):
    """Nothing in the window has a settled verdict yet; the message says which window."""


@dataclass(frozen=True)
class Window:
    """Transactions of [from_ms, to_ms) as known at `as_of_ms`."""

    as_of_ms: int
    from_ms: int
    to_ms: int


def window_as_of(as_of_ms: int, window_days: float, label_delay_days: float) -> Window:
    """The newest `window_days` whose verdicts are in: younger transactions would only show frauds noticed early."""
    to_ms = as_of_ms - round(label_delay_days * DAY_MS)
    return Window(as_of_ms, to_ms - round(window_days * DAY_MS), to_ms)


def after_warm_up(window: Window, first_day: str, warm_up_days: int) -> Window:
    """Without the first days of the log, in which everybody is a stranger: as normal there as it is suspect later.

    first_day: of the scored table, as the lake names it. Raises NoLabels where nothing is left.
    """
    first_ms = start_ms(first_day)
    from_ms = max(window.from_ms, first_ms + warm_up_days * DAY_MS)
    if from_ms >= window.to_ms:
        raise NoLabels(
            f"NoLabels: the log begins on {first_day}; its first {warm_up_days} days train nothing, and verdicts are in"
            f" until {_day(window.to_ms)}. Give it more history, or less FRAUD_WARM_UP_DAYS."
        )
    return replace(window, from_ms=from_ms)


@dataclass(frozen=True)
class TrainingSet:
    """rows: ROW_COLUMNS in log order. features: (n, n_features) float32 by `names`. is_fraud: (n,).

    served: how many rows were read at the position that their decision logged. weight: (n,) how much each counts in training;
    None where all count 1, as in every set of before there were weights. unreadable: how many were left out, for their decision
    logs none that can be read. unspoken: how many were left out, for we denied them and nobody said what they were.
    """

    window: Window
    names: tuple[str, ...]
    rows: pa.Table
    features: Floats
    is_fraud: npt.NDArray[np.bool_]
    served: int
    weight: Floats | None = None
    unreadable: int = 0
    unspoken: int = 0

    def __len__(self) -> int:
        return len(self.is_fraud)

    @property
    def digest(self) -> str:
        """SHA-256 of ids, labels, feature bits and weights in log order, and of the names."""
        found = hashlib.sha256(msgspec.json.encode([self.window.as_of_ms, list(self.names)]))
        found.update(msgspec.json.encode(self.rows["transaction_id"].to_pylist()))
        found.update(np.packbits(self.is_fraud).tobytes())
        found.update(np.ascontiguousarray(self.features).tobytes())
        if self.weight is not None:
            found.update(self.weight.tobytes())
        return found.hexdigest()

    @property
    def days(self) -> float:
        """From the first row to the last: a window may reach back to before the log."""
        time_ms = self.rows["event_time_ms"].to_numpy()
        return float(time_ms.max() - time_ms.min()) / DAY_MS

    def fraud_share_by_day(self) -> Floats:
        """(n_days,) share of fraud among the rows of each day of the window; NaN for a day without rows."""
        day = (self.rows["event_time_ms"].to_numpy() - self.window.from_ms) // DAY_MS
        count = -((self.window.from_ms - self.window.to_ms) // DAY_MS)
        rows, frauds = np.bincount(day, minlength=count), np.bincount(day, self.is_fraud, minlength=count)
        shares: Floats = np.divide(frauds, rows, out=np.full(count, np.nan), where=rows > 0).astype(np.float32)
        return shares

    def table(self) -> pa.Table:
        """One Arrow table: row columns and the label, prefixed `row_` (a feature may be called amount_minor
        too), then the features.
        """
        whole = self.rows.append_column("is_fraud", pa.array(self.is_fraud))
        whole = whole.rename_columns([f"{ROW_PREFIX}{name}" for name in whole.column_names])
        if self.weight is not None:
            whole = whole.append_column(WEIGHT, pa.array(self.weight))
        for name, column in zip(self.names, to_arrow(self.names, self.features).columns, strict=True):
            whole = whole.append_column(name, column)
        window = {name: str(value) for name, value in vars(self.window).items()}
        return whole.replace_schema_metadata(
            {
                "digest": self.digest,
                "served": str(self.served),
                "unreadable": str(self.unreadable),
                "unspoken": str(self.unspoken),
                **window,
            }
        )


def features_of(table: pa.Table) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """The names of the feature columns of such a table, and the features (n, n_features)."""
    names = tuple(name for name in table.column_names if not name.startswith(ROW_PREFIX))
    features = np.empty((table.num_rows, len(names)), np.float32)
    for place, name in enumerate(names):
        features[:, place] = table[name].to_numpy()
    return names, features


def table_schema(names: Sequence[str], scored: pa.Schema, *, weighted: bool = False) -> pa.Schema:
    """Of `TrainingSet.table`, before there is one. scored: of the raw table that its rows are of."""
    rows = [*(scored.field(name) for name in ROW_COLUMNS), pa.field("is_fraud", pa.bool_())]
    if weighted:
        rows.append(pa.field(WEIGHT.removeprefix(ROW_PREFIX), pa.float32()))
    return pa.schema([*(field.with_name(f"{ROW_PREFIX}{field.name}") for field in rows), *vector_schema(names)])


def vector_schema(names: Sequence[str]) -> pa.Schema:
    """A column for each feature, in the order that models take them."""
    return pa.schema([pa.field(name, pa.float32()) for name in names])


def training_set(
    lake: Lake,
    service: ServicePlan,
    window: Window,
    *,
    reader: HistoryReader | None = None,
    weigh: Weigh | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> TrainingSet:
    """Vectors and verdicts of a window. Raises NoLabels.

    A transaction that we decided is read at the position its decision logged; one whose decision
    had already seen it is left out, and so is one whose decision logged what is no position; any other knows what came before it
    in log order. One that we denied is left out unless somebody spoke of it: nobody complains of what he did not pay, so its silence
    would teach that what we deny is legitimate. weigh: as known at the window's as-of time (weights.py); None where every row counts 1.
    """
    reader = reader or HistoryReader(lake, service.engine)
    scored = service.service.scored
    columns = reader.columns(scored, window.as_of_ms)
    rows = lake.scan(
        scored.table, as_known_at_ms=window.as_of_ms, from_ms=window.from_ms, to_ms=window.to_ms, columns=ROW_COLUMNS
    )
    places = rows_between(columns, window.from_ms, window.to_ms)
    verdicts = verdicts_as_known(lake, window.as_of_ms)
    decided = _decided(lake, service, window)
    ids = identities(rows).to_pylist()
    label = np.array([verdicts.get(name, -1) for name in ids], np.int8)
    unspoken = decided.denied - spoken_of(lake, window.from_ms, window.as_of_ms)
    silent = np.array([name in unspoken for name in ids], bool) & (label == 0)
    unusable = np.array([name in decided.left_out for name in ids], bool)
    kept = np.flatnonzero((label >= 0) & ~unusable & ~silent)
    if not len(kept):
        raise NoLabels(_explained(window, len(rows)))
    log = reader.log(service.sources, window.as_of_ms)
    chosen = rows.take(pa.array(kept))
    positions = [decided.positions.get(ids[place]) for place in kept.tolist()]
    features = _vectors(service, log, places[kept], positions, progress)
    served = sum(position is not None for position in positions)
    unreadable = sum(bool(label[place] >= 0) for place, name in enumerate(ids) if name in decided.unreadable)
    weight = None if weigh is None else weigh(chosen, label[kept]).astype(np.float32)
    is_fraud = label[kept] == 1
    counts = unreadable, int(silent.sum())
    return TrainingSet(window, service.names, chosen.combine_chunks(), features, is_fraud, served, weight, *counts)


class _Decided(NamedTuple):
    """By identity: what the decision of a transaction had read. left_out: had seen itself, or are among the unreadable. denied: by us."""

    positions: dict[str, dict[str, Position]]
    left_out: set[str]
    unreadable: set[str]
    denied: set[str]


def _decided(lake: Lake, service: ServicePlan, window: Window) -> _Decided:
    """Decisions of this service. A degraded one read nothing, so its positions are empty and its row trains on nulls."""
    digest = service.engine.registry.service_digest(service.service)
    rows = lake.scan(
        "decisions",
        as_known_at_ms=window.as_of_ms,
        from_ms=window.from_ms,
        to_ms=window.to_ms,
        columns=DECISION_COLUMNS,
    )
    found, seen = _Decided({}, set(), set(), _denied(rows)), set[str]()
    ours = rows.filter(pc.equal(rows["service_digest"], digest))
    read = readable_positions(ours, service.engine.registry.topics)
    included = ours["self_included"].to_pylist()
    for name, is_included, positions in zip(identities(ours).to_pylist(), included, read, strict=True):
        if name in seen:  # the first decision is the one that was acted on; a repeated request changes nothing
            continue
        seen.add(name)
        if is_included or positions is None:
            found.left_out.add(name)
        else:
            found.positions[name] = positions
        if positions is None and not is_included:
            found.unreadable.add(name)
    return found


def _denied(decisions: pa.Table) -> set[str]:
    """Whose first decision denied them, under whichever definitions it was made."""
    first: dict[str, str] = {}
    for name, action in zip(identities(decisions).to_pylist(), decisions["action"].to_pylist(), strict=True):
        first.setdefault(name, action)
    return {name for name, action in first.items() if action == Action.DENY}


def _vectors(
    service: ServicePlan,
    log: Log,
    places: Ints,
    positions: list[dict[str, Position] | None],
    progress: Callable[[str, int, int], None] | None,
) -> Floats:
    """(n, n_features) of scored events at `places`: as served where a position is given, else as logged."""
    features = np.empty((len(places), len(service.names)), np.float32)
    scored = log.columns[service.service.scored.name]
    served = np.array([position is not None for position in positions], bool)
    every = Spine.of_events(log, service.service.scored.name)
    for mask in (~served, served):
        rows = np.flatnonzero(mask)
        if not len(rows):
            continue
        at = places[rows]
        if mask is served:
            known = [position for position in positions if position is not None]
            spine = Spine.at_positions(scored.take(at), scored.time[at], known)
        else:
            spine = every.take(at)
        for chunk in vector_chunks(service, log, spine, progress=progress):
            features[rows[chunk.first : chunk.first + len(chunk.features)]] = chunk.features
    return features


def _explained(window: Window, count: int) -> str:
    return (
        f"NoLabels: none of the {count} transactions of {_day(window.from_ms)} to {_day(window.to_ms)} has a verdict known at "
        f"{str(np.datetime64(window.as_of_ms, 'ms'))[:16]}. Materialize label_facts first, or choose a later as-of day."
    )


def _day(time_ms: int) -> str:
    return str(np.datetime64(time_ms, "ms"))[:10]
