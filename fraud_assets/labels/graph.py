"""Who shares what: accounts, and the devices, cards and addresses that they paid with. Pure, but for reading the lake.

A bipartite graph as of an instant: an edge joins an account and an entity, and says how often and since when. It holds what
had arrived by then and nothing of any label, so it may be looked at, and learnt from, without a verdict leaking through it.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from scipy import sparse
from scipy.sparse import csgraph

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.shapes import EDGES, KINDS, Caps
from fraud_assets.labels.statements import frame
from fraud_assets.labels.walk import entity_places, places
from fraud_assets.stores.lake import Lake

COLUMNS = ("account_id", "transaction_id", "event_time_ms", *KINDS.values())


@dataclass(frozen=True)
class Degrees:
    """Entities of one kind. accounts_p99, accounts_max: how many accounts share one. capped: entities over the cap."""

    kind: str
    entities: int
    edges: int
    shared: int
    accounts_p99: int
    accounts_max: int
    cap: int
    capped: int


@dataclass(frozen=True)
class Components:
    """Groups of accounts that hang together by entities under their caps. largest: accounts in the biggest."""

    groups: int
    largest: int


def transactions_as_known(lake: Lake, as_of_ms: int, lookback_days: int) -> pa.Table:
    """What the graph is made of: payments of the lookback that had arrived before `as_of_ms`."""
    return lake.scan(
        "transactions", from_ms=as_of_ms - lookback_days * DAY_MS, as_known_at_ms=as_of_ms, columns=COLUMNS
    )


def identity_edges(transactions: pa.Table) -> pa.Table:
    """(n_edges,) rows of EDGES by kind, entity and account; of the same transactions in any order the same."""
    rows = frame(transactions)
    return pl.concat([_edges_of(rows, kind, column) for kind, column in KINDS.items()]).to_arrow().cast(EDGES.schema)


def _edges_of(rows: pl.DataFrame, kind: str, column: str) -> pl.DataFrame:
    seen = pl.col("event_time_ms")
    edges = (
        rows.lazy()
        .drop_nulls(column)
        .group_by(pl.col(column).alias("entity_id"), "account_id")
        .agg(
            seen.min().alias("first_seen_ms"),
            seen.max().alias("last_seen_ms"),
            pl.len().cast(pl.Int64).alias("transactions"),
        )
        .with_columns(pl.lit(kind).alias("kind"), pl.len().over("entity_id").cast(pl.Int64).alias("accounts"))
        .sort("entity_id", "account_id")
    )
    return edges.select(EDGES.schema.names).collect()


def degrees(edges: pl.DataFrame, caps: Caps) -> list[Degrees]:
    """Of each kind how widely its entities are shared."""
    return [_degrees_of(edges.filter(pl.col("kind") == kind), kind, caps.of(kind)) for kind in KINDS]


def _degrees_of(edges: pl.DataFrame, kind: str, cap: int) -> Degrees:
    shared_by = _entities(edges)["accounts"].to_numpy()
    return Degrees(
        kind=kind,
        entities=len(shared_by),
        edges=len(edges),
        shared=int((shared_by > 1).sum()),
        accounts_p99=int(np.quantile(shared_by, 0.99, method="higher")) if len(shared_by) else 0,
        accounts_max=int(shared_by.max(initial=0)),
        cap=cap,
        capped=int((shared_by > cap).sum()),
    )


def most_shared(edges: pl.DataFrame, count: int) -> pl.DataFrame:
    """(kind, entity_id, accounts, transactions) of the entities that most accounts share, the first first."""
    found = _entities(edges.filter(pl.col("accounts") > 1))
    return found.sort("accounts", "kind", "entity_id", descending=[True, False, False]).head(count)


def _entities(edges: pl.DataFrame) -> pl.DataFrame:
    return edges.group_by("kind", "entity_id").agg(pl.col("accounts").first(), pl.col("transactions").sum())


def components(edges: pl.DataFrame, caps: Caps) -> Components:
    """What the caps leave connected. A largest one of half of all accounts says that a cap is too high."""
    names = places(edges)
    placed = edges.with_columns(entity_places(edges).alias("entity")).join(names, on="account_id")
    within = placed.filter(pl.col("accounts") <= caps.column())
    place = within["account"].to_numpy(), within["entity"].to_numpy()
    total, entities = len(names), placed["entity"].n_unique()
    joined = sparse.coo_matrix((np.ones(len(within), np.int8), place), shape=(total, entities))
    nodes = sparse.bmat([[None, joined], [joined.T, None]])
    _, group = csgraph.connected_components(nodes, directed=False)
    sizes = np.bincount(group[:total])
    return Components(int((sizes > 0).sum()), int(sizes.max(initial=0)))
