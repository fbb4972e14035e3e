"""How long frauds take to become known: the share of them that is known d days after the payment. Pure.

Delays are right-truncated, not right-censored: of a young payment whose fraud nobody has reported yet we do not even
know that it is one. Counting the delays of all known frauds would show young ones with short delays only, and a curve that is too steep;
the cohorts that are old enough to be complete would be the curve of four months ago. So the product-limit estimator in
reverse time, which takes from each cohort what it can tell:

    F(d) = Π over u > d of 1 − n(u) / N(u)

n(u) frauds became known in the u-th day after their payment, N(u) not later than that, both among payments whose u-th day is over.
It is what actuaries call the chain ladder. F is relative: of the frauds that become known within the horizon at all.

Source: Kalbfleisch and Lawless, Inference based on retrospective ascertainment, JASA 84 (1989); Lagakos, Barraj and De Gruttola,
Nonparametric analysis of truncated survival data, Biometrika 75 (1988).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.statements import IDENTITY, statements_as_known, transactions_of, verdicts
from fraud_assets.stores.lake import Lake

TABLE = "label_maturity"
# Card schemes take a chargeback for 120 days after the payment; what comes later is no longer the delay of a report.
HORIZON_DAYS = 120
# Payments of twice as long: the older half tells the end of the curve, and what banks were like before that is past.
WINDOW_DAYS = 2 * HORIZON_DAYS
# Fewer frauds say nothing of a day: one late report among five would move the whole curve by a fifth.
MIN_AT_RISK = 30
# Of the frauds: were fewer known when the label delay ends, a training set would teach one in five as legitimate.
MIN_COVERED = 0.8
SHARES = (0.5, 0.8, 0.95)
ANY = "any"

SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("days", pa.int32(), nullable=False),
        pa.field("share_known", pa.float64(), nullable=False),
        pa.field("became_known", pa.int64(), nullable=False),
        pa.field("at_risk", pa.int64(), nullable=False),
    ]
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Curve:
    """share: (m + 1,) known after 0..m days, of what is known after m. Empty where too few frauds are known to tell.

    became_known, at_risk: n(u) and N(u) of the estimator. frauds: known at all, within the horizon.
    """

    share: Floats
    became_known: Ints
    at_risk: Ints
    frauds: int

    def known_after(self, days: int) -> float | None:
        """Share of the frauds known so many days after the payment."""
        return float(self.share[min(days, len(self.share) - 1)]) if len(self.share) else None

    def days_until(self, share: float) -> int | None:
        """The first day by which so many of them are known."""
        return int(np.argmax(self.share >= share - 1e-12)) if len(self.share) else None


@dataclass(frozen=True)
class Maturity:
    """curves: of each source, and of whoever spoke first (ANY)."""

    curves: Mapping[str, Curve]
    delay_days: int

    @property
    def covered(self) -> float | None:
        """Share of the frauds that are known when the label delay ends; None where too few are known to tell."""
        return self.curves[ANY].known_after(self.delay_days)

    @property
    def is_covered(self) -> bool:
        return self.covered is None or self.covered >= MIN_COVERED

    def table(self) -> pa.Table:
        """Rows of SCHEMA: a row for each day of each curve."""
        parts = [
            pa.table(
                [[source] * len(curve.share), range(len(curve.share)), curve.share, curve.became_known, curve.at_risk],
                schema=SCHEMA,
            )
            for source, curve in self.curves.items()
        ]
        return pa.concat_tables([SCHEMA.empty_table(), *parts])


def maturity_as_of(lake: Lake, as_of_ms: int, delay_days: int) -> Maturity:
    """The curves as known at `as_of_ms`; what arrived later changes nothing."""
    statements = statements_as_known(lake, as_of_ms)
    recent = pl.col("event_time_ms") >= as_of_ms - WINDOW_DAYS * DAY_MS
    transactions = transactions_of(lake, statements, as_of_ms).filter(recent)
    return maturity_of(statements, transactions, as_of_ms, delay_days)


def maturity_of(statements: pl.DataFrame, transactions: pl.DataFrame, as_of_ms: int, delay_days: int) -> Maturity:
    """Curves of the frauds whose verdict stands. transactions: identity and event time of those spoken of.

    A delay ends with the first statement of fraud: the source's for its own curve, anybody's for ANY. A fraud taken back is none.
    """
    frauds = verdicts(statements).filter("is_fraud").select(IDENTITY)
    times = transactions.rename({"event_time_ms": "paid_ms"})
    said = statements.filter("is_fraud").join(frauds, on=IDENTITY, how="semi").join(times, on=IDENTITY)
    first = said.group_by(*IDENTITY, "source").agg(pl.col("ingested_at_ms").min(), pl.col("paid_ms").first())
    everybody = first.group_by(IDENTITY).agg(pl.col("ingested_at_ms").min(), pl.col("paid_ms").first())
    curves = {ANY: _curve_of(everybody, as_of_ms)}
    for source in sorted(first["source"].unique().to_list()):
        curves[source] = _curve_of(first.filter(pl.col("source") == source), as_of_ms)
    return Maturity(curves, delay_days)


def _curve_of(known: pl.DataFrame, as_of_ms: int) -> Curve:
    paid, at = known["paid_ms"].to_numpy(), known["ingested_at_ms"].to_numpy()
    # Known during the u-th day after the payment; a statement that came before its payment on day 0.
    delay = np.maximum(-((paid - at) // DAY_MS), 0)
    return product_limit(delay, (as_of_ms - paid) // DAY_MS)


def product_limit(delay_days: Ints, age_days: Ints, horizon_days: int = HORIZON_DAYS) -> Curve:
    """Share known after 0..m days from right-truncated delays.

    delay_days: (n,) day after the payment on which each became known. age_days: (n,) whole days since the payment;
    one that became known on a day that is not over yet is left out, as those are that would become known later on it.
    m is the last day, up to the horizon, of which MIN_AT_RISK frauds can tell.
    """
    told = (delay_days <= age_days) & (delay_days <= horizon_days)
    delay, age = delay_days[told], np.minimum(age_days[told], horizon_days)
    days = np.arange(horizon_days + 1)
    became = np.bincount(delay, minlength=len(days))
    # Of the u-th day only payments can tell that are old enough: N(u) = known by u, less those of them too young for u.
    at_risk = np.cumsum(became) - np.cumsum(np.bincount(age + 1, minlength=len(days) + 1))[: len(days)]
    enough = np.flatnonzero(at_risk >= MIN_AT_RISK)
    last = int(enough[-1]) + 1 if len(enough) else 0
    became, at_risk = became[:last], at_risk[:last]
    kept = 1 - became / np.maximum(at_risk, 1)
    # The product over u > d, from the end; of the last day it is empty.
    share = np.append(np.cumprod(kept[:0:-1])[::-1], 1.0) if last else np.empty(0)
    return Curve(share, became.astype(np.int64), at_risk.astype(np.int64), len(delay))
