"""Every chain of decisions in the lake, beside the heads that earlier runs found: what is wrong, and what may still come.

The lake can be a minute behind, and each partition of the log by another minute. A tail that is not there yet shows
nowhere. A gap does: the record after it came first. Such a gap is on its way, and no finding, if the record after it
came in the ten minutes before the lake's newest one, and lies beyond every head that was kept. So it is excused once:
the next run has the head that this one found behind it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fraud_assets.contracts.chain import Fault, Finding, Head, Link, verify
from fraud_assets.stores.decision_chains import read_chains
from fraud_assets.stores.lake import Lake

# From a record's arrival at the broker to its row in the lake: router and sink, with a worker that was replaced meanwhile.
GRACE_MS = 10 * 60_000


@dataclass(frozen=True)
class Chain:
    """One chain. on_their_way: places that are empty and may not stay so. kept: position of the newest head kept of it."""

    head: Head
    decisions: int
    findings: list[Finding]
    on_their_way: int
    kept: int


@dataclass(frozen=True)
class ChainReport:
    """unchained: decisions of before there were chains."""

    chains: list[Chain]
    unchained: int

    @property
    def decisions(self) -> int:
        return sum(chain.decisions for chain in self.chains) + self.unchained

    @property
    def findings(self) -> list[Finding]:
        return [finding for chain in self.chains for finding in chain.findings]

    @property
    def heads(self) -> list[Head]:
        """What to keep: of every chain that the lake has anything of."""
        return [chain.head for chain in self.chains if chain.head.position]


def chain_report(lake: Lake, kept: Iterable[Head]) -> ChainReport:
    """Every chain that the lake has, or that a head was kept of.

    kept: oldest first. Of two with one position the older stands: the newer may be of a chain that was rewritten by then.
    """
    heads: dict[str, dict[int, str]] = defaultdict(dict)
    for head in kept:
        heads[head.chain_id].setdefault(head.position, head.sha256)
    links, unchained = read_chains(lake)
    newest_ms = max((link.arrived_ms for chain in links.values() for link in chain), default=0)
    return ChainReport(
        [_judged(name, links.get(name, []), heads[name], newest_ms) for name in sorted({*links, *heads})], unchained
    )


def _judged(chain_id: str, links: list[Link], kept: Mapping[int, str], newest_ms: int) -> Chain:
    found, head = verify(chain_id, links, kept)
    arrived_ms = {link.position: link.arrived_ms for link in links}
    last_kept = max(kept, default=0)
    on_their_way = [
        gap
        for gap in found
        if gap.fault is Fault.DROPPED and gap.position > last_kept and arrived_ms[gap.last + 1] >= newest_ms - GRACE_MS
    ]
    return Chain(
        head,
        len(links),
        [finding for finding in found if finding not in on_their_way],
        sum(gap.last - gap.position + 1 for gap in on_their_way),
        last_kept,
    )
