"""From confirmed frauds to what hangs together with them, with a confidence. Pure.

The confidence of a payment that nobody has confirmed is the chance that a random walk from it ends in a confirmed fraud:

- A step goes to the payment's device, card or address (WEIGHTS; the address least).
- There it stays with the account itself as often as that has paid with it, n times, against OTHERS times for all others: the owner
  of a stolen card is known by what he paid before. Of the others, each that shares the entity is alike, whatever it paid.
- It takes any one of that account's payments with the entity. It ends with 1 in a confirmed fraud, and with 0 in one that somebody has
  looked at and cleared; from one that nobody has judged it goes on from any payment of that account.
- Before each step it ends with 0 with probability 1 − DAMPING: who is far away is nobody's accomplice.
- Where it stayed with the account that it came from it ends, with 1 by the share of the account's payments that are confirmed. Else
  it would draw again and again from a robbed customer's payments, until it found the one that was not theirs.
- An entity that more accounts share than its kind's cap leads to no others, and a card that there was none of neither. A carrier's
  address with one fraudster and 5,000 others tells nobody anything about anybody.

With x of accounts and y of entities as an account sees them, the means over their payments, that is

    own_a = F_a / n_a
    g_ae = n_ae / (n_ae + OTHERS)                               1 where nobody else shares e
    y_ea = g_ae · (f_ae + u_ae own_a) / n_ae + (1 − g_ae) / (k_e − 1) · Σ_b (f_be + u_be x_b) / n_be
    x_a = own_a + α / n_a · (Σ_e u_ae w_e y_ea + r_a own_a)
    confidence of a payment = α Σ_e w_e y_ea                     own_a in the place of y_ea where e leads to no others

n: payments of an account (with an entity), f, F: those confirmed as fraud, u: those that nobody has judged, k_e: the accounts of e,
b: of them all but a, r: the weight of u of entities that lead to no others. A round is a contraction by α in the largest
difference, so there is one solution, and MAX_ROUNDS reach it to 1e-6 whatever the order. An account counts once at an
entity, however much it pays there: nobody outvotes the others by volume, and one of k accounts moves another directly by
at most α w / (k − 1).

Source: Zhu and Ghahramani, Learning from labeled and unlabeled data with label propagation (2002); Wu, Li, So, Wright and Chang,
Learning with partially absorbing random walks, NIPS 2012.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from fraud_assets.labels.shapes import CONFIDENCE, KINDS, WEIGHTS, Caps
from fraud_assets.labels.statements import IDENTITY, frame
from fraud_assets.labels.walk import DAMPING, MAX_HOPS, Graph, Walked, graph_of, hops, pairs_of, places, walk

# From here on a payment counts as fraud, for who wants a yes or no: a ring of which a third is confirmed gives 0.38 to the others.
PROPAGATED_AT = 0.3
# What is less says nothing, and is not written.
MIN_CONFIDENCE = 0.01
OWN = "account"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Propagated:
    """rows: of CONFIDENCE, by identity. confirmed, linked: how many of them. rounds: until the values stood still."""

    rows: pa.Table
    confirmed: int
    linked: int
    rounds: int

    @property
    def propagated(self) -> int:
        """Unconfirmed payments that count as fraud."""
        is_fraud, is_confirmed = (self.rows[name].to_numpy() for name in ("is_fraud", "is_confirmed"))
        return int((is_fraud & ~is_confirmed).sum())


def propagate(
    edges: pa.Table, transactions: pa.Table, frauds: pl.DataFrame, cleared: pl.DataFrame, caps: Caps
) -> Propagated:
    """Confidences of `transactions`, of which `edges` is the identity graph, in its order. Raises StaleGraph if it is another's.

    frauds, cleared: identities of payments with a standing fraud fact, and of those called legitimate by somebody; a payment that is
    both is a fraud. Others of the lake, outside the lookback, change nothing.
    """
    judged = _judged(frame(transactions), frauds, cleared)
    graph = graph_of(frame(edges), judged, caps)
    walked = walk(graph)
    linked = _of_payments(graph, judged, walked)
    confirmed = judged.filter(pl.col("verdict") == 1)
    rows = pl.concat([_confirmed(confirmed), linked]).sort(*IDENTITY)
    return Propagated(rows.to_arrow().cast(CONFIDENCE.schema), len(confirmed), len(linked), walked.rounds)


def _judged(transactions: pl.DataFrame, frauds: pl.DataFrame, cleared: pl.DataFrame) -> pl.DataFrame:
    """With `verdict`: 1 confirmed as fraud, 0 cleared, -1 not judged."""
    said = pl.concat(
        [
            frauds.select(*IDENTITY, pl.lit(1, pl.Int8).alias("verdict")),
            cleared.select(*IDENTITY, pl.lit(0, pl.Int8).alias("verdict")),
        ]
    ).unique(list(IDENTITY), keep="first", maintain_order=True)
    return transactions.join(said, on=IDENTITY, how="left").with_columns(pl.col("verdict").fill_null(-1))


def _of_payments(graph: Graph, judged: pl.DataFrame, walked: Walked) -> pl.DataFrame:
    """Rows of CONFIDENCE of the payments that nobody has judged, with what is worth writing."""
    far_account, far_entity = hops(graph)
    edges = _seen_by_edge(graph, walked, far_account, far_entity)
    of_account = places(graph.edges).select(
        "account_id", x=pl.Series(walked.x), own=pl.Series(walked.own), far_own=pl.Series(far_account)
    )
    # An account from which no walk ends in a fraud has no payment from which one does.
    rows = judged.filter(pl.col("verdict") < 0).join(of_account.filter(pl.col("x") > 0), on="account_id")
    for kind, column in KINDS.items():
        of_kind = (pl.col(name).alias(f"{name}_{kind}") for name in _OF_EDGE)
        ours = edges.filter(pl.col("kind") == kind).select(pl.col("entity_id").alias(column), "account_id", *of_kind)
        rows = rows.join(ours, on=(column, "account_id"), how="left")
    return _explained(rows)


_OF_EDGE = ("value", "far", "is_own")


def _seen_by_edge(graph: Graph, walked: Walked, far_account: Floats, far_entity: Floats) -> pl.DataFrame:
    """Of each account with an entity: what the walk is worth there, how far it is, and whether it leads back."""
    account, entity = graph.edges["account"].to_numpy(), graph.edges["entity"].to_numpy()
    x, own, leads = walked.x[account], walked.own[account], entity >= 0
    pairs = pairs_of(graph.edges, walked.own)
    others = np.append(walked.told, 0.0)[entity] - pairs.confirmed - pairs.unjudged * x
    value = np.where(leads, pairs.stays + pairs.to_each * others, own)
    return graph.edges.select("kind", "entity_id", "account_id").with_columns(
        pl.Series("value", value),
        pl.Series("far", np.where(leads, np.append(far_entity, 0.0)[entity], far_account[account])),
        # One that nobody else has, too, leads to the account's own payments.
        pl.Series("is_own", ~leads | (graph.edges["accounts"].to_numpy() == 1)),
    )


def _explained(rows: pl.DataFrame) -> pl.DataFrame:
    """Confidence, and by what most of it came."""
    share = {kind: weight * pl.col(f"value_{kind}").fill_null(pl.col("own")) for kind, weight in WEIGHTS.items()}
    own = {kind: pl.col(f"is_own_{kind}").fill_null(value=True) for kind in KINDS}
    far = [pl.col(f"far_{kind}").fill_null(pl.col("far_own")) for kind in KINDS]
    shared = [pl.when(~own[kind]).then(share[kind]).otherwise(0.0) for kind in KINDS]
    by_own = pl.sum_horizontal(pl.when(own[kind]).then(share[kind]).otherwise(0.0) for kind in KINDS)
    rows = rows.with_columns(
        (DAMPING * pl.sum_horizontal(share.values())).alias("confidence"),
        pl.min_horizontal(far).alias("hops"),
        pl.concat_list(*shared, by_own).list.arg_max().alias("best"),
    ).filter(pl.col("confidence") >= MIN_CONFIDENCE)
    named = [*KINDS, OWN]
    ids = [*KINDS.values(), "account_id"]
    return rows.select(
        *IDENTITY,
        "event_time_ms",
        pl.lit(value=False).alias("is_confirmed"),
        (pl.col("confidence") >= PROPAGATED_AT).alias("is_fraud"),
        "confidence",
        pl.when(pl.col("hops") <= MAX_HOPS).then(pl.col("hops")).cast(pl.Int8).alias("hops"),
        pl.col("best").replace_strict(dict(enumerate(named)), return_dtype=pl.String).alias("through_kind"),
        pl.coalesce(pl.when(pl.col("best") == place).then(pl.col(column)) for place, column in enumerate(ids)).alias(
            "through_id"
        ),
    )


def _confirmed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        *IDENTITY,
        "event_time_ms",
        pl.lit(value=True).alias("is_confirmed"),
        pl.lit(value=True).alias("is_fraud"),
        pl.lit(1.0).alias("confidence"),
        pl.lit(0, pl.Int8).alias("hops"),
        pl.lit(None, pl.String).alias("through_kind"),
        pl.lit(None, pl.String).alias("through_id"),
    )
