"""The random walk from payments over the identity graph to confirmed frauds, as sparse matrices. Pure; what it means is in `propagation.py`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse
from scipy.sparse import csgraph

from fraud_assets.labels.shapes import KINDS, WEIGHTS, Caps

# Payments: what all the others with an entity say weighs as so many of one's own with it. Simulated: of what counts as fraud by way of a
# card one in fifteen is an honest payment of its owner; with 30 four in ten are. With 3 none, but a ring's account that pays often hides.
OTHERS = 10
DAMPING = 0.85
MAX_ROUNDS = 100  # 0.85 ** 100 is 9e-8, less than TOLERANCE * 0.15
TOLERANCE = 1e-6
MAX_HOPS = 8

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class StaleGraph(ValueError):
    """The graph is not made of these transactions."""


@dataclass(frozen=True)
class Graph:
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
class Walked:
    """(n_accounts,) x and own, (n_entities,) what all its accounts say together, and the rounds that it took."""

    x: Floats
    own: Floats
    told: Floats
    rounds: int


def graph_of(edges: pl.DataFrame, judged: pl.DataFrame, caps: Caps) -> Graph:
    accounts, entity = places(edges), entity_places(edges)
    spoken = judged.filter(pl.col("verdict") >= 0)
    counted = pl.concat([_counted(spoken, kind, column) for kind, column in KINDS.items()])
    found = edges.join(counted, on=("kind", "entity_id", "account_id"), how="left", maintain_order="left").with_columns(
        pl.col("f", "l").fill_null(0)
    )
    found = found.join(accounts, on="account_id", maintain_order="left").with_columns(
        (pl.col("transactions") - pl.col("f") - pl.col("l")).alias("u"),
        pl.when(pl.col("accounts") <= caps.column()).then(entity).otherwise(-1).alias("entity"),
    )
    _require_same(found, judged)
    size = len(accounts)
    own = found.filter(pl.col("kind") == "device")  # a payment has one device, and only one
    sums = [_total(own["account"].to_numpy(), own[name].to_numpy(), size) for name in ("transactions", "f", "u")]
    return Graph(found, size, entity.n_unique(), *sums)


def places(edges: pl.DataFrame) -> pl.DataFrame:
    """(account_id, account) the place of each account, by its name."""
    return edges.select(pl.col("account_id").unique().sort()).with_row_index("account").cast({"account": pl.Int64})


def entity_places(edges: pl.DataFrame) -> pl.Series:
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


def walk(graph: Graph) -> Walked:
    """Rounds until the values stand still, from what each account's own payments say."""
    own = graph.frauds / np.maximum(graph.payments, 1)
    steps = _steps_of(graph, own)
    x, moved, rounds = own, np.inf, 0
    while moved >= TOLERANCE * (1 - DAMPING) and rounds < MAX_ROUNDS:
        after = steps.fixed + steps.out @ steps.told(x) - steps.at_once * x
        moved, x, rounds = float(np.abs(after - x).max(initial=0.0)), after, rounds + 1
    return Walked(x, own, steps.told(x), rounds)


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
class Pairs:
    """Of edges, each an account with an entity. stays: what its own payments say. to_each: the chance to go to one certain other.

    confirmed, unjudged: f / n and u / n.
    """

    stays: Floats
    to_each: Floats
    confirmed: Floats
    unjudged: Floats


def pairs_of(edges: pl.DataFrame, own: Floats) -> Pairs:
    n, f, u, k = (edges[name].to_numpy().astype(np.float64) for name in ("transactions", "f", "u", "accounts"))
    alone = np.where(k > 1, n / (n + OTHERS), 1.0)
    stays = alone * (f + u * own[edges["account"].to_numpy()]) / n
    return Pairs(stays, (1 - alone) / np.maximum(k - 1, 1), f / n, u / n)


def _steps_of(graph: Graph, own: Floats) -> _Steps:
    edges = graph.edges.filter(pl.col("entity") >= 0)
    account, entity = edges["account"].to_numpy(), edges["entity"].to_numpy()
    pairs, shape = pairs_of(edges, own), (graph.accounts, graph.entities)
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


def hops(graph: Graph) -> tuple[Floats, Floats]:
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
