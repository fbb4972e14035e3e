"""Chains of decisions as the lake has them: every link, or a day's folded into runs.

Of a decision whose person was erased the lake has the link alone, in a table of its own. It counts as whole if a receipt names it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import track

from fraud_assets.contracts.chain import Head, Link
from fraud_assets.contracts.chain_fold import Apart, Day, Fold
from fraud_assets.contracts.events import Decision
from fraud_assets.stores.lake import Lake, again_if_replaced
from fraud_assets.stores.receipts import Receipts
from fraud_assets.stores.schemas import to_events

TABLE = "decisions"
ERASED = "erased_decisions"
# Read of a file, and held as structs, at a time: some 20 KB each.
CHUNK_ROWS = 500


def read_chains(lake: Lake) -> tuple[dict[str, list[Link]], int]:
    """The links of each chain, half a kilobyte each, and how many decisions are in none: those of before there were chains.

    In log order within a day of event time, not over days.
    """
    chains: dict[str, list[Link]] = defaultdict(list)
    unchained = 0
    for day in each(chain_days(lake), "Reading decisions"):
        for chain_id, link in again_if_replaced(partial(_all_links, lake, day)):
            if chain_id:
                chains[chain_id].append(link)
            else:
                unchained += 1
    return chains, unchained


def chain_days(lake: Lake) -> list[str]:
    """Days that have links, ascending."""
    return sorted({*lake.days(TABLE), *lake.days(ERASED)})


def fold_day(
    lake: Lake, day: str, kept: Mapping[str, Collection[int]], apart: Mapping[str, Iterable[Apart]] | None = None
) -> Day:
    """A day's decisions, folded as they are read.

    kept: positions that heads were kept of, by chain. Memory: of each file that has rows of one moment two parts of
    `CHUNK_ROWS`, and the runs so far. Links of one moment lie in as many partitions and are joined when all of these are
    read as far, so few runs are open at a time; what stays open is what the day itself leaves so: its findings, and the
    neighbours of links that lie on other days.
    """
    return again_if_replaced(partial(_folded, lake, day, kept, apart or {}))


def each(days: Collection[str], what: str) -> Iterable[str]:
    """The days, and on a terminal how far they are."""
    console = Console(stderr=True)
    return track(days, what, console=console, transient=True, disable=not console.is_terminal)


def _folded(
    lake: Lake, day: str, kept: Mapping[str, Collection[int]], apart: Mapping[str, Iterable[Apart]]
) -> Day:  # fmt: skip
    folds = dict[str, Fold]()
    unchained = newest_ms = 0
    for chain_id, link in _links(lake, day):
        if not chain_id:
            unchained += 1
            continue
        newest_ms = max(newest_ms, link.arrived_ms)
        if chain_id not in folds:
            folds[chain_id] = Fold(frozenset(kept.get(chain_id, ())), apart.get(chain_id, ()))
        folds[chain_id].add(link)
    return Day(
        {chain_id: fold.runs() for chain_id, fold in folds.items()},
        unchained,
        newest_ms,
        {chain_id: fold.apart for chain_id, fold in folds.items() if fold.apart},
    )


def _all_links(lake: Lake, day: str) -> list[tuple[str, Link]]:
    return list(_links(lake, day))


def _links(lake: Lake, day: str) -> Iterator[tuple[str, Link]]:
    """Each decision's chain, empty if it is in none, and link.

    An erasure that is under way has written an erased link and not yet taken its decision: that is one link, not two.
    """
    erased = _erased(lake, day)
    yield from erased.values()
    for rows in lake.stream(TABLE, day, CHUNK_ROWS):
        for first in range(0, rows.num_rows, CHUNK_ROWS):
            part = rows.slice(first, CHUNK_ROWS)
            where = (part[name].to_pylist() for name in ("source_partition", "source_offset", "ingested_at_ms"))
            for decision, *place in zip(to_events(Decision, part), *where, strict=True):
                if (place[0], place[1]) not in erased:
                    yield decision.chain_id, Link.of(decision, *place)


def _erased(lake: Lake, day: str) -> dict[tuple[int, int], tuple[str, Link]]:
    """By partition and offset. Whole are those that a receipt vouches for. Raises BrokenReceipts."""
    columns = [
        "chain_id",
        "chain_position",
        "previous_sha256",
        "sha256",
        "source_partition",
        "source_offset",
        "ingested_at_ms",
    ]
    listed = [info for _, info in lake.files(ERASED, [day])]
    if not listed:
        return {}
    rows, vouched = lake.scan_files(ERASED, listed, columns).to_pylist(), Receipts(lake.uri).vouched()
    return {
        (row["source_partition"], row["source_offset"]): (row["chain_id"], _erased_link(row, vouched)) for row in rows
    }


def _erased_link(row: Mapping[str, Any], vouched: Collection[str]) -> Link:
    head = Head(row["chain_id"], row["chain_position"], row["sha256"])
    return Link(
        head.position, head.sha256, row["previous_sha256"], "erased", row["source_partition"], row["source_offset"],
        str(head) in vouched, row["ingested_at_ms"],
    )  # fmt: skip
