"""How a model did on live payments whose labels are in, and how far its scores are from them.

Of a payment that was let through silence means legitimate once the label delay has passed. Of one that was denied it means nothing: nobody
complains of what he did not pay. So a denied payment counts only where somebody spoke of it, and recall and precision are between two
bounds: all the others legitimate, or all of them fraud.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.artifact import read_champion
from fraud_assets.models.manifest import Manifest
from fraud_assets.policy.policy import Action
from fraud_assets.settings import Settings
from fraud_assets.stores.decided import decided, deciding_version, scores_by
from fraud_assets.stores.identity import identities
from fraud_assets.stores.lake import Lake
from fraud_assets.training.as_of import manifest_of
from fraud_assets.training.money import euro_cents
from fraud_assets.training.settled import SETTLED_MS
from fraud_assets.training.verdicts import FACT_COLUMNS, spoken_of, verdicts

# A day of a small seller has ten frauds, and a share of ten is chance: a week is judged, the day is shown.
DAYS = 7
MIN_ROWS = 200
MIN_FRAUDS = 20
# Share of what was let through that must have its verdict: with fewer the label stage is behind, and what it has are the frauds.
MIN_LABELLED = 0.95

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class State(StrEnum):
    """Whether a day could be judged, and why not."""

    JUDGED = "judged"
    NO_CHAMPION = "no_champion"
    NOTHING_DECIDED = "nothing_decided"
    MODEL_GONE = "model_gone"
    LABELS_YOUNG = "labels_young"
    LABELS_MISSING = "labels_missing"
    TOO_FEW = "too_few"


@dataclass(frozen=True)
class Payments:
    """All (n,): payments that a version scored, of some days. denied: acted on. is_fraud: by the verdict; False where not `known`.

    known: a verdict stands, and it says something: the payment was let through, or somebody spoke of it.
    """

    time_ms: Ints
    score: Floats
    denied: Flags
    is_fraud: Flags
    known: Flags
    euro_cents: Floats

    def __len__(self) -> int:
        return len(self.score)

    def of(self, chosen: Flags) -> "Payments":
        return Payments(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    @property
    def let_through(self) -> "Payments":
        return self.of(~self.denied)

    @property
    def spoken_of(self) -> "Payments":
        return self.of(self.known)


_NUMBERS, _FLAGS = np.empty(0, np.float64), np.empty(0, bool)
NOBODY = Payments(np.empty(0, np.int64), _NUMBERS, _FLAGS, _FLAGS, _FLAGS, _NUMBERS)


def matures_ms(to_ms: int, label_delay_days: float) -> int:
    """From when on the verdicts of payments before `to_ms` are in, and the label stage has told of them."""
    return to_ms + round(label_delay_days * DAY_MS) + SETTLED_MS


def payments(lake: Lake, version: str, from_ms: int, to_ms: int, rates: Mapping[str, float] | None = None) -> Payments:
    """What a version scored of [from_ms, to_ms), deciding or beside who did, with what is known of it now. Raises UnknownCurrency."""
    rows = decided(lake, from_ms, to_ms)
    score = scores_by(version, rows)
    rows, score = rows.filter(pa.array(np.isfinite(score))), score[np.isfinite(score)]
    names = identities(rows).to_pylist()
    verdict = verdicts(lake.scan("label_facts", from_ms, columns=FACT_COLUMNS))
    spoken = spoken_of(lake, from_ms)
    denied = rows["action"].to_numpy() == Action.DENY
    said = np.array([verdict.get(name, -1) for name in names], np.int8)
    silent = np.array([name not in spoken for name in names], bool)
    return Payments(
        rows["event_time_ms"].to_numpy(),
        score,
        denied,
        said == 1,
        (said >= 0) & ~(denied & silent),
        _amounts(lake, names, from_ms, to_ms, rates),
    )


def _amounts(lake: Lake, names: list[str], from_ms: int, to_ms: int, rates: Mapping[str, float] | None) -> Floats:
    """(n,) euro cents by identity; 0 of a payment that the lake does not have, which the skew report names."""
    columns = ["account_id", "transaction_id", "amount_minor", "currency"]
    paid = lake.scan("transactions", from_ms, to_ms, columns=columns)
    cents = euro_cents(paid["amount_minor"].to_numpy(), paid["currency"].to_pylist(), rates)
    known = dict(zip(identities(paid).to_pylist(), cents.tolist(), strict=True))
    return np.array([known.get(name, 0.0) for name in names], np.float64)


def state_of(found: Payments, to_ms: int, label_delay_days: float, now_ms: int) -> State:
    """Of payments before `to_ms`: whether their labels can be gone by."""
    if not len(found):
        return State.NOTHING_DECIDED
    if now_ms < matures_ms(to_ms, label_delay_days):
        return State.LABELS_YOUNG
    through = found.let_through
    if len(through) and through.known.mean() < MIN_LABELLED:
        return State.LABELS_MISSING
    return State.JUDGED if found.known.sum() >= MIN_ROWS else State.TOO_FEW


@dataclass(frozen=True)
class Week:
    """The days that are judged together. last: of the last one, which is the partition. manifest: of the model that decided most of it."""

    state: State
    manifest: Manifest | None
    found: Payments
    last: Payments


def week_until(lake: Lake, settings: Settings, from_ms: int, to_ms: int, now_ms: int) -> Week:
    """The DAYS before `to_ms`, by the model that decided most of [from_ms, to_ms), the last of them. Raises UnknownCurrency."""
    version = deciding_version(decided(lake, from_ms, to_ms))
    if version is None:
        has_champion = read_champion(settings.model_dir) is not None
        return Week(State.NOTHING_DECIDED if has_champion else State.NO_CHAMPION, None, NOBODY, NOBODY)
    found = payments(lake, version, to_ms - DAYS * DAY_MS, to_ms, settings.exchange_rates)
    last = found.of(found.time_ms >= from_ms)
    try:
        manifest = manifest_of(settings.model_dir, version)
    except FileNotFoundError:
        return Week(State.MODEL_GONE, None, found, last)
    return Week(state_of(found, to_ms, settings.label_delay_days, now_ms), manifest, found, last)
