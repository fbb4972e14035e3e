"""How far labels can be trusted: sources that contradict one another, verdicts that turn, frauds that come too late. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from sklearn.metrics import cohen_kappa_score

from fraud_assets.contracts.events import LabelSource
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.statements import (
    IDENTITY,
    by_source,
    facts_as_known,
    statements_as_known,
    transactions_of,
)
from fraud_assets.stores.lake import Lake

# Fewer payments judged by both, or fewer frauds, give a share by chance.
MIN_JUDGED = 30
# Reviewers err in one case of fourteen or so; where two sources differ in one of five, one of them means something else by fraud.
MIN_AGREEMENT = 0.8
# A verdict that turns was learnt from as it was: one in twenty is what a model bears without notice.
MAX_REVERSED = 0.05
# What maturity.MIN_COVERED leaves.
MAX_LATE = 0.2
# A few wait for a payment that is on its way; more are of another shop, or of ids that somebody rewrote.
MAX_UNKNOWN = 0.01
MAX_CONFLICTING = 0
CONTENT = ("transaction_id", "account_id", "event_time_ms", "source", "revision", "is_fraud")


@dataclass(frozen=True)
class Pair:
    """Two sources, and what both of them say. kappa: Cohen's; None where chance alone would agree always.

    A source that only ever says fraud, as chargebacks do, has a kappa of 0 with any other, however often they agree: read it
    beside `agreement`, and judge by that.
    """

    first: str
    second: str
    both: int
    agreement: float | None
    kappa: float | None


@dataclass(frozen=True)
class Measure:
    """One figure of the report. of: out of how many. at_most: its bound; None for what is only shown."""

    name: str
    value: float
    of: int
    at_most: float | None

    @property
    def is_within(self) -> bool:
        """Also a share of too few to tell."""
        is_chance = self.of < MIN_JUDGED and self.at_most != MAX_CONFLICTING
        return self.at_most is None or is_chance or self.value <= self.at_most


@dataclass(frozen=True)
class Noise:
    """labels: that were known. pairs: of sources."""

    labels: int
    pairs: tuple[Pair, ...]
    measures: tuple[Measure, ...]

    @property
    def out_of_bounds(self) -> list[str]:
        return [measure.name for measure in self.measures if not measure.is_within]


def noise_as_of(lake: Lake, as_of_ms: int, lookback_days: int, delay_days: int) -> Noise:
    """Of the labels and verdicts that became known in the lookback, as they stood at `as_of_ms`."""
    recent = pl.col("ingested_at_ms") >= as_of_ms - lookback_days * DAY_MS
    copies = statements_as_known(lake, as_of_ms, duplicates=True).filter(recent)
    facts = facts_as_known(lake, as_of_ms)
    # A fact of last week may be the end of a story that began before.
    ours = facts.join(facts.filter(recent).select(IDENTITY).unique(), on=IDENTITY, how="semi", maintain_order="left")
    spoken = pl.concat([copies.select(IDENTITY), ours.filter("is_fraud").select(IDENTITY)])
    return noise_of(copies, ours, transactions_of(lake, spoken, as_of_ms), as_of_ms, delay_days)


def noise_of(
    copies: pl.DataFrame, facts: pl.DataFrame, transactions: pl.DataFrame, as_of_ms: int, delay_days: int
) -> Noise:
    """copies: statements, with the copies that were marked. facts: in log order, all of each transaction that has some.

    transactions: identity and event time, of those that a label or a fraud fact names and we know.
    """
    statements = copies.unique([*IDENTITY, "label_id"], keep="first", maintain_order=True)
    pairs = tuple(_pairs(statements))
    mature = transactions.filter(pl.col("event_time_ms") < as_of_ms - delay_days * DAY_MS)
    measures = (
        *_disagreements(pairs),
        *_turned(facts),
        _late(facts, mature, delay_days),
        _unknown(statements, transactions),
        _conflicting(copies),
    )
    return Noise(len(statements), pairs, measures)


def _pairs(statements: pl.DataFrame) -> Iterator[Pair]:
    standing = by_source(statements).select(*IDENTITY, "source", "is_fraud")
    for first, second in combinations(sorted(map(str, LabelSource)), 2):
        of_first, of_second = (standing.filter(pl.col("source") == name) for name in (first, second))
        both = of_first.join(of_second, on=IDENTITY)
        said = both["is_fraud"].to_numpy(), both["is_fraud_right"].to_numpy()
        if not len(both):
            yield Pair(first, second, 0, None, None)
            continue
        is_constant = len({*said[0].tolist(), *said[1].tolist()}) == 1
        kappa = None if is_constant else float(cohen_kappa_score(*said))
        yield Pair(first, second, len(both), float((said[0] == said[1]).mean()), kappa)


def _disagreements(pairs: tuple[Pair, ...]) -> Iterator[Measure]:
    for pair in pairs:
        if pair.agreement is not None:
            name = f"disagreement_{pair.first}_{pair.second}"
            yield Measure(name, 1 - pair.agreement, pair.both, 1 - MIN_AGREEMENT)


def _turned(facts: pl.DataFrame) -> Iterator[Measure]:
    """Verdicts whose first fact said otherwise than the last; a fact that was only dated anew turned nothing."""
    asserted = facts.filter(pl.col("sign") > 0).group_by(IDENTITY, maintain_order=True)
    story = asserted.agg(
        pl.col("is_fraud").first().alias("first"),
        pl.col("is_fraud").last().alias("last"),
        ((pl.col("ingested_at_ms").last() - pl.col("ingested_at_ms").first()) / DAY_MS).alias("days"),
    )
    turned = story.filter(pl.col("first") != pl.col("last"))
    acquitted = turned.filter("first")
    frauds = int(story["first"].sum())
    yield Measure("frauds_taken_back", _share(len(acquitted), frauds), frauds, MAX_REVERSED)
    yield Measure("verdicts_turned", _share(len(turned), len(story)), len(story), MAX_REVERSED)
    for name, rows in (("taken_back", acquitted), ("turned", turned)):
        if len(rows):
            yield Measure(f"median_days_until_{name}", float(np.median(rows["days"].to_numpy())), len(rows), None)


def _late(facts: pl.DataFrame, mature: pl.DataFrame, delay_days: int) -> Measure:
    """Of the frauds that stand, those that were not known when their label delay ended: a training set of then calls them legitimate.

    mature: payments whose delay is over; of the others none can be late yet.
    """
    fraud = facts.filter("is_fraud").group_by(IDENTITY)
    standing = fraud.agg(pl.col("sign").cast(pl.Int64).sum(), pl.col("ingested_at_ms").min())
    known = standing.filter(pl.col("sign") > 0).join(mature, on=IDENTITY)
    late = known.filter(pl.col("ingested_at_ms") > pl.col("event_time_ms") + delay_days * DAY_MS)
    return Measure("frauds_known_too_late", _share(len(late), len(known)), len(known), MAX_LATE)


def _unknown(statements: pl.DataFrame, transactions: pl.DataFrame) -> Measure:
    unknown = statements.join(transactions, on=IDENTITY, how="anti")
    return Measure("of_unknown_transactions", _share(len(unknown), len(statements)), len(statements), MAX_UNKNOWN)


def _conflicting(copies: pl.DataFrame) -> Measure:
    """Label ids under which two things were said. The first counts; who sent the second believes otherwise."""
    said = copies.unique(["label_id", *CONTENT]).group_by("label_id").len()
    conflicting = int((said["len"] > 1).sum())
    return Measure("label_ids_with_two_contents", conflicting, len(said), MAX_CONFLICTING)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
