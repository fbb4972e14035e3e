"""Every chain of decisions in the lake, beside the heads that earlier runs found: what is wrong, and what may still come.

The lake can be a minute behind, and each partition of the log by another minute. A tail that is not there yet shows
nowhere. A gap does: the record after it came first. Such a gap is on its way, and no finding, if the record after it
came in the ten minutes before the lake's newest one, and lies beyond every head that was kept. So it is excused once:
the next run has the head that this one found behind it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fraud_assets.contracts.chain import Finding, Head
from fraud_assets.contracts.chain_fold import Joined
from fraud_assets.monitoring.chain_days import Night
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
class ReadDays:
    """Days that were read, that were known from nights before, and of those read the ones that nothing had changed."""

    read: int
    kept: int
    again: int


@dataclass(frozen=True)
class ChainReport:
    """unchained: decisions of before there were chains. folded: what the next report goes on from; to be kept where the heads are."""

    chains: list[Chain]
    unchained: int
    days: ReadDays
    folded: str

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


def chain_report(lake: Lake, kept: Iterable[Head], folded: str = "", reread_nights: int = 90) -> ChainReport:
    """Every chain that the lake has, or that a head was kept of.

    kept: oldest first. Of two with one position the older stands: the newer may be of a chain that was rewritten by then.
    folded: what the report before this one has `folded`. Memory: `fold_day`'s for one day, and the runs of all days.
    """
    heads: dict[str, dict[int, str]] = defaultdict(dict)
    for head in kept:
        heads[head.chain_id].setdefault(head.position, head.sha256)
    night = Night(lake, heads, folded, reread_nights)
    chains = [_judged(joined, heads.get(name, {}), night.newest_ms) for name, joined in night.join().items()]
    read = ReadDays(len(night.read), night.days - len(night.read), night.read_again)
    return ChainReport(chains, night.unchained, read, night.keep())


def _judged(found: Joined, kept: Mapping[int, str], newest_ms: int) -> Chain:
    last_kept = max(kept, default=0)
    on_their_way = {
        gap for gap, came_ms in found.came_ms.items() if gap.position > last_kept and came_ms >= newest_ms - GRACE_MS
    }
    return Chain(
        found.head,
        found.links,
        [finding for finding in found.findings if finding not in on_their_way],
        sum(gap.last - gap.position + 1 for gap in on_their_way),
        last_kept,
    )
