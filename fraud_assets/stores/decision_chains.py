"""Chains of decisions as the lake has them."""

from collections import defaultdict

import numpy as np
from rich.console import Console
from rich.progress import track

from fraud_assets.contracts.chain import Link
from fraud_assets.contracts.events import Decision
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import to_events

# Decisions held as structs at a time, some 20 KB each.
CHUNK_ROWS = 5_000


def read_chains(lake: Lake) -> tuple[dict[str, list[Link]], int]:
    """The links of each chain, and how many decisions are in none: those of before there were chains.

    Day by day: a decision's rows are many times its link. In log order within a day of event time, not over days.
    """
    chains: dict[str, list[Link]] = defaultdict(list)
    unchained = 0
    console = Console(stderr=True)
    for day in track(
        lake.days("decisions"), "Reading decisions", console=console, transient=True, disable=not console.is_terminal
    ):
        first_ms = int(np.datetime64(day, "ms").astype(np.int64))
        rows = lake.scan("decisions", first_ms, first_ms + DAY_MS)
        for first in range(0, rows.num_rows, CHUNK_ROWS):
            part = rows.slice(first, CHUNK_ROWS)
            where = (part[name].to_pylist() for name in ("source_partition", "source_offset", "ingested_at_ms"))
            for decision, *place in zip(to_events(Decision, part), *where, strict=True):
                if decision.chain_id:
                    chains[decision.chain_id].append(Link.of(decision, *place))
                else:
                    unchained += 1
    return chains, unchained
