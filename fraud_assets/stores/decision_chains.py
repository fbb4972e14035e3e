"""Chains of decisions as the lake has them."""

from collections import defaultdict

from rich.console import Console
from rich.progress import track

from fraud_assets.contracts.chain import Link
from fraud_assets.contracts.events import Decision
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import to_events

# Decisions held as structs at a time, some 20 KB each.
CHUNK_ROWS = 5_000


def read_chains(lake: Lake) -> tuple[dict[str, list[Link]], int]:
    """The links of each chain, in log order, and how many decisions are in none: those of before there were chains."""
    rows = lake.scan("decisions")
    chains: dict[str, list[Link]] = defaultdict(list)
    unchained = 0
    console = Console(stderr=True)
    firsts = range(0, rows.num_rows, CHUNK_ROWS)
    for first in track(firsts, "Reading decisions", console=console, transient=True, disable=not console.is_terminal):
        part = rows.slice(first, CHUNK_ROWS)
        places = zip(part["source_partition"].to_pylist(), part["source_offset"].to_pylist(), strict=True)
        for decision, place in zip(to_events(Decision, part), places, strict=True):
            if decision.chain_id:
                chains[decision.chain_id].append(Link.of(decision, *place))
            else:
                unchained += 1
    return chains, unchained
