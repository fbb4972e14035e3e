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

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from scipy import sparse
from scipy.sparse import csgraph

from fraud_assets.labels.shapes import CONFIDENCE, KINDS, Caps
from fraud_assets.labels.statements import IDENTITY, frame

# A card is one person's, a device a household's; an address is whose turn it is. They add up to 1.
WEIGHTS: Mapping[str, float] = {"device": 0.4, "card": 0.45, "ip": 0.15}
# Payments: what all the others with an entity say weighs as so many of one's own with it. Fewer would not find the second account of
# a ring before its tenth payment; more would call the owner of a stolen card one of the thieves.
OTHERS = 10
DAMPING = 0.85
MAX_ROUNDS = 100  # 0.85 ** 100 is 9e-8, less than TOLERANCE * 0.15
TOLERANCE = 1e-6
# From here on a payment counts as fraud, for who wants a yes or no: a ring of which a third is confirmed gives 0.38 to the others.
PROPAGATED_AT = 0.3
# What is less is not written: nine payments in ten, of whom it says nothing.
MIN_CONFIDENCE = 0.01
MAX_HOPS = 8
OWN = "account"

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class StaleGraph(ValueError):
    """The graph is not made of these transactions."""


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
    graph = _graph(frame(edges), judged, caps)
    walked = _walk(graph)
    linked = _of_payments(graph, judged, walked)
    confirmed = judged.filter(pl.col("verdict") == 1)
    rows = pl.concat([_confirmed(confirmed), linked]).sort(*IDENTITY)
    return Propagated(rows.to_arrow().cast(CONFIDENCE.schema), len(confirmed), len(linked), walked.rounds)


@dataclass(frozen=True)
class _Graph:
    """edges: with `account` and `entity`, places of both, entity -1 where it leads back; n, f, u of the module's formulas.

    payments, frauds, unjudged: (n_accounts,) n_a, F_a and the number of unjudged ones.
    """

    edges: pl.DataFrame
    accounts: int
    entities: int
    payments: Floats
    frauds: Floats
    unjudged: Floats


@dataclass(frozen=True)
class _Walked:
    """(n_accounts,) x and own, (n_entities,) what all its accounts say together, and the rounds that it took."""

    x: Floats
    own: Floats
    told: Floats
    rounds: int


def _judged(transactions: pl.DataFrame, frauds: pl.DataFrame, cleared: pl.DataFrame) -> pl.DataFrame:
    """With `verdict`: 1 confirmed as fraud, 0 cleared, -1 not judged."""
    said = pl.concat(
        [
            frauds.select(*IDENTITY, pl.lit(1, pl.Int8).alias("verdict")),
            cleared.select(*IDENTITY, pl.lit(0, pl.Int8).alias("verdict")),
        ]
    ).unique(list(IDENTITY), keep="first", maintain_order=True)
    return transactions.join(said, on=IDENTITY, how="left").with_columns(pl.col("verdict").fill_null(-1))


def _graph(edges: pl.DataFrame, judged: pl.DataFrame, caps: Caps) -> _Graph:
    spoken = judged.filter(pl.col("verdict") >= 0)
    counted = pl.concat([_counted(spoken, kind, column) for kind, column in KINDS.items()])
    found = edges.join(counted, on=("kind", "entity_id", "account_id"), how="left", maintain_order="left").with_columns(
        pl.col("f", "l").fill_null(0)
    )
    found = found.join(_places(edges), on="account_id", maintain_order="left").with_columns(
        (pl.col("transactions") - pl.col("f") - pl.col("l")).alias("u"),
        pl.when(pl.col("accounts") <= caps.column()).then(_entity_places(edges)).otherwise(-1).alias("entity"),
    )
    _require_same(found, judged)
    size = len(_places(edges))
    own = found.filter(pl.col("kind") == "device")  # a payment has one device, and only one
    sums = [_total(own["account"].to_numpy(), own[name].to_numpy(), size) for name in ("transactions", "f", "u")]
    return _Graph(found, size, _entity_places(edges).n_unique(), *sums)


def _places(edges: pl.DataFrame) -> pl.DataFrame:
    """(account_id, account) the place of each account, by its name."""
    return edges.select(pl.col("account_id").unique().sort()).with_row_index("account").cast({"account": pl.Int64})


def _entity_places(edges: pl.DataFrame) -> pl.Series:
    """(n_edges,) the place of each edge's entity: one's edges lie together."""
    return edges.select(pl.struct("kind", "entity_id").rle_id().cast(pl.Int64))["kind"]


def _counted(spoken: pl.DataFrame, kind: str, column: str) -> pl.DataFrame:
    """f and l: payments of an edge confirmed as fraud, and cleared."""
    rows = spoken.drop_nulls(column).group_by(pl.col(column).alias("entity_id"), "account_id")
    found = rows.agg(
        (pl.col("verdict") == 1).sum().cast(pl.Int64).alias("f"),
        (pl.col("verdict") == 0).sum().cast(pl.Int64).alias("l"),
    )
    return found.with_columns(pl.lit(kind).alias("kind"))


def _require_same(edges: pl.DataFrame, judged: pl.DataFrame) -> None:
    for kind, column in KINDS.items():
        of_graph = int(edges.filter(pl.col("kind") == kind)["transactions"].sum())
        known = len(judged) - judged[column].null_count()
        if of_graph != known or (edges["u"] < 0).any():
            raise StaleGraph(
                f"StaleGraph: the graph has {of_graph} payments by {kind}, the lake {known} as known then. Somebody mended"
                " a day, or changed a setting: materialize identity_graph of this day again."
            )


def _total(place: Ints, value: npt.NDArray[np.number], size: int) -> Floats:
    """(size,) the sum of the values at each place."""
    return np.bincount(place, value, minlength=size).astype(np.float64)


def _walk(graph: _Graph) -> _Walked:
    """Rounds until the values stand still, from what each account's own payments say."""
    own = graph.frauds / np.maximum(graph.payments, 1)
    steps = _steps_of(graph, own)
    x, moved, rounds = own, np.inf, 0
    while moved >= TOLERANCE * (1 - DAMPING) and rounds < MAX_ROUNDS:
        after = steps.fixed + steps.out @ steps.told(x) - steps.at_once * x
        moved, x, rounds = float(np.abs(after - x).max(initial=0.0)), after, rounds + 1
    return _Walked(x, own, steps.told(x), rounds)


@dataclass(frozen=True)
class _Steps:
    """out: from account to entity and on to the others. back: u / n from entity to account. ends: the sum of f / n of each entity.

    fixed: of each account what does not depend on others. at_once: what `out` and `back` lead back to the account itself.
    """

    out: sparse.csr_matrix
    back: sparse.csr_matrix
    ends: Floats
    fixed: Floats
    at_once: Floats

    def told(self, x: Floats) -> Floats:
        """The sum of what all accounts of an entity say."""
        y: Floats = self.ends + self.back @ x
        return y


@dataclass(frozen=True)
class _Pairs:
    """Of edges, each an account with an entity. stays: what its own payments say. to_each: the chance to go to one certain other.

    confirmed, unjudged: f / n and u / n.
    """

    stays: Floats
    to_each: Floats
    confirmed: Floats
    unjudged: Floats


def _pairs(edges: pl.DataFrame, own: Floats) -> _Pairs:
    n, f, u, k = (edges[name].to_numpy().astype(np.float64) for name in ("transactions", "f", "u", "accounts"))
    alone = np.where(k > 1, n / (n + OTHERS), 1.0)
    stays = alone * (f + u * own[edges["account"].to_numpy()]) / n
    return _Pairs(stays, (1 - alone) / np.maximum(k - 1, 1), f / n, u / n)


def _steps_of(graph: _Graph, own: Floats) -> _Steps:
    edges = graph.edges.filter(pl.col("entity") >= 0)
    account, entity = edges["account"].to_numpy(), edges["entity"].to_numpy()
    pairs, shape = _pairs(edges, own), (graph.accounts, graph.entities)
    weight = edges["kind"].replace_strict(dict(WEIGHTS), return_dtype=pl.Float64).to_numpy()
    taken = weight * edges["u"].to_numpy() / graph.payments[account]
    # An unjudged payment has weight 1 in all; what its entities under their caps do not take leads to no others.
    rest = graph.unjudged / np.maximum(graph.payments, 1) - _total(account, taken, graph.accounts)
    out = DAMPING * taken * pairs.to_each
    stays = DAMPING * taken * pairs.stays - out * pairs.confirmed  # `ends` counts the account itself among the others
    return _Steps(
        out=sparse.csr_matrix((out, (account, entity)), shape=shape),
        back=sparse.csr_matrix((pairs.unjudged, (entity, account)), shape=shape[::-1]),
        ends=_total(entity, pairs.confirmed, graph.entities),
        fixed=own * (1 + DAMPING * rest) + _total(account, stays, graph.accounts),
        at_once=_total(account, out * pairs.unjudged, graph.accounts),
    )


def _of_payments(graph: _Graph, judged: pl.DataFrame, walked: _Walked) -> pl.DataFrame:
    """Rows of CONFIDENCE of the payments that nobody has judged, with what is worth writing."""
    far_account, far_entity = _hops(graph)
    edges = _seen_by_edge(graph, walked, far_account, far_entity)
    of_account = _places(graph.edges).select(
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


def _seen_by_edge(graph: _Graph, walked: _Walked, far_account: Floats, far_entity: Floats) -> pl.DataFrame:
    """Of each account with an entity: what the walk is worth there, how far it is, and whether it leads back."""
    account, entity = graph.edges["account"].to_numpy(), graph.edges["entity"].to_numpy()
    x, own, leads = walked.x[account], walked.own[account], entity >= 0
    pairs = _pairs(graph.edges, walked.own)
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


def _hops(graph: _Graph) -> tuple[Floats, Floats]:
    """(n_accounts,), (n_entities,) hops of a payment of an account by itself, and by an entity of its; inf: out of reach."""
    edges = graph.edges.filter(pl.col("entity") >= 0)
    account, entity = edges["account"].to_numpy(), edges["entity"].to_numpy()
    total = graph.accounts + graph.entities
    ones = np.ones(len(edges), np.int8)
    nodes = sparse.csr_matrix((ones, (account, graph.accounts + entity)), shape=(total, total))
    seeds = np.flatnonzero(graph.frauds > 0)
    if not len(seeds):
        return np.full(graph.accounts, np.inf), np.full(graph.entities, np.inf)
    steps = csgraph.dijkstra(nodes, directed=False, indices=seeds, unweighted=True, min_only=True, limit=2 * MAX_HOPS)
    return steps[: graph.accounts] / 2 + 1, (steps[graph.accounts :] + 1) / 2


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
