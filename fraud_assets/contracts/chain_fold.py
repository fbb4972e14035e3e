"""A day's part of the chains, folded into runs of links that are as they should be; and the runs of all days joined.

`verify` holds every link at once. A fold holds of a run its two ends, and what tells whether another run belongs before it, between
or behind. Whatever may be wrong with a link stands alone, a run of itself. So the join of all folds finds what
`verify` finds of all links; where a run would have to be looked into, it says where, and the day is folded again with
those links alone. A link is looked into only if it is a finding, or a head that was kept.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import msgspec

from fraud_assets.contracts.chain import Fault, Finding, Head, Link, by_position

ANY = -1


class Run(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Links that follow one another: whole, each linked to the one before, and in each partition behind the earlier ones.

    previous_sha256, arrived_ms: of the first. sha256, decision_id: of the last. offsets: the smallest and the largest of
    each partition. alone: one link that may not be joined to others.
    """

    first: int
    last: int
    previous_sha256: str
    sha256: str
    decision_id: str
    arrived_ms: int
    offsets: dict[int, tuple[int, int]]
    alone: bool = False
    is_whole: bool = True

    def goes_on_with(self, later: "Run") -> bool:
        """Whether both are one run."""
        return (
            self.last + 1 == later.first
            and self.sha256 == later.previous_sha256
            and not self.alone
            and not later.alone
            and all(self.offsets[at][1] <= low for at, (low, _) in later.offsets.items() if at in self.offsets)
        )

    def and_(self, later: "Run") -> "Run":
        """The two as one."""
        offsets = dict(self.offsets)
        for at, (low, high) in later.offsets.items():
            offsets[at] = (offsets[at][0] if at in offsets else low, high)
        return Run(
            self.first, later.last, self.previous_sha256, later.sha256, later.decision_id, self.arrived_ms, offsets
        )


class Apart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Which links to keep alone: from `first` to `last`; of one partition, only those before an offset."""

    first: int
    last: int
    partition: int = ANY
    below: int = 0


class _Aparts:
    """Looked up for every link, and as many as there are findings: those of a partition are made disjoint, by position."""

    def __init__(self, aparts: Iterable[Apart]) -> None:
        self._of = dict[int, list[Apart]]()
        for one in sorted(set(aparts), key=lambda apart: (apart.partition, apart.first, apart.last)):
            made = self._of.setdefault(one.partition, [])
            if made and one.first <= made[-1].last:
                last = made.pop()
                one = Apart(last.first, max(last.last, one.last), one.partition, max(last.below, one.below))
            made.append(one)

    @property
    def all(self) -> list[Apart]:
        return [one for made in self._of.values() for one in made]

    def take(self, link: Link) -> bool:
        return any(
            link.position <= one.last and (one.partition == ANY or link.offset < one.below)
            for partition in (ANY, link.partition)
            if (one := self._at(partition, link.position)) is not None
        )

    def _at(self, partition: int, position: int) -> Apart | None:
        """The last that begins there or before."""
        made = self._of.get(partition)
        number = bisect_right(made, position, key=lambda one: one.first) if made else 0
        return made[number - 1] if made and number else None


class Fold:
    """Runs of one chain, of links that come in any order; memory follows what is not yet, or never, joined."""

    def __init__(self, kept: Container[int] = (), apart: Iterable[Apart] = ()) -> None:
        """kept: positions that heads were kept of; they stand alone, as what `apart` takes."""
        self._kept = kept
        self._aparts = _Aparts(apart)
        self._by_first = dict[int, Run]()
        self._by_last = dict[int, Run]()
        self._alone = list[Run]()

    def add(self, link: Link) -> None:
        at = link.position
        # A second one of its place goes to no run: the first may be in the midst of one, and the join finds that.
        alone = (
            at < 1
            or not link.is_whole
            or at in self._kept
            or at in self._by_first
            or at in self._by_last
            or self._aparts.take(link)
        )
        run = Run(
            at, at, link.previous_sha256, link.sha256, link.decision_id, link.arrived_ms,
            {link.partition: (link.offset, link.offset)}, alone, link.is_whole,
        )  # fmt: skip
        if alone:
            self._alone.append(run)
        else:
            self._put(run)

    @property
    def apart(self) -> list[Apart]:
        """What it was told, for who folds the day again."""
        return self._aparts.all

    def runs(self) -> list[Run]:
        """By position, as `verify` would look at them."""
        return sorted([*self._by_first.values(), *self._alone], key=_order)

    def _put(self, run: Run) -> None:
        """Joined to the runs on both sides of it, if they go together and nothing else has that place."""
        before = self._by_last.get(run.first - 1)
        if before is not None and before.goes_on_with(run):
            del self._by_first[before.first], self._by_last[before.last]
            run = before.and_(run)
        later = self._by_first.get(run.last + 1)
        if later is not None and run.goes_on_with(later):
            del self._by_first[later.first], self._by_last[later.last]
            run = run.and_(later)
        self._by_first[run.first] = self._by_last[run.last] = run


class Day(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All that a day's decisions say of their chains. unchained: decisions of before there were chains.

    newest_ms: when the last of them came. apart: which links were folded alone, by chain.
    """

    runs: dict[str, list[Run]]
    unchained: int
    newest_ms: int
    apart: dict[str, list[Apart]]


class Joined(msgspec.Struct, frozen=True):
    """What `verify` finds, and when the link after a gap came; nothing of it stands before `apart` is empty."""

    findings: list[Finding]
    head: Head
    links: int
    came_ms: dict[Finding, int]
    apart: dict[str, list[Apart]]


def join(chain_id: str, days: Mapping[str, Iterable[Run]], heads: Mapping[int, str] | None = None) -> Joined:
    """The runs of one chain on all days, as `verify` judges their links.

    heads: digests by position that were kept elsewhere. apart: by day, which links must be folded alone before it can be said.
    """
    ordered = sorted(((run, day) for day, runs in days.items() for run in runs), key=lambda one: _order(one[0]))
    runs = [run for run, _ in ordered]
    head = Head(chain_id, runs[-1].last, runs[-1].sha256) if runs else Head(chain_id)
    links = sum(run.last - run.first + 1 for run in runs)
    kept = heads or {}
    # While runs overlap, none has a place of its own, and what else to ask for cannot be said.
    asked = list(_overlapping(runs)) or [*_in_the_midst(runs, kept), *_behind(runs)]
    apart = defaultdict[str, list[Apart]](list)
    for number, one in asked:
        if runs[number].last > runs[number].first:
            apart[ordered[number][1]].append(one)
    if apart:
        return Joined([], head, links, {}, dict(apart))
    came_ms, replaced = _between(chain_id, runs)
    found = [*came_ms, *replaced, *_alone(chain_id, runs), *_against(chain_id, runs, kept)]
    furthest = max(kept, default=0)
    if furthest > head.position:
        found.append(Finding(Fault.CUT, chain_id, head.position + 1, furthest))
    return Joined(by_position(found), head, links, came_ms, {})


def _order(run: Run) -> tuple[object, ...]:
    """Of links alone, that of `verify`; any other run has its places for itself, or is looked into."""
    return run.first, min(run.offsets.items()), run.sha256, run.previous_sha256, run.decision_id


def _overlapping(runs: Iterable[Run]) -> Iterator[tuple[int, Apart]]:
    """Places that two runs have, by number of each. Not always all: those that are left show when these are alone."""
    widest: tuple[int, Run] | None = None
    for number, run in enumerate(runs):
        # Two links alone that have one place are a fork.
        if widest is not None and run.first <= widest[1].last and not widest[1].first == widest[1].last == run.last:
            both = Apart(run.first, min(run.last, widest[1].last))
            yield from ((widest[0], both), (number, both))
        if widest is None or run.last > widest[1].last:
            widest = number, run


def _in_the_midst(runs: Sequence[Run], kept: Iterable[int]) -> Iterator[tuple[int, Apart]]:
    """Places of heads that a run says nothing of, for they are not its last."""
    for position in kept:
        number = _holder(runs, position)
        if number is not None and runs[number].last > position:
            yield number, Apart(position, position)


def _behind(runs: Iterable[Run]) -> Iterator[tuple[int, Apart]]:
    """Runs that have links which stand before an earlier one in their partition of the log, and which links those are."""
    furthest = dict[int, int]()
    for number, run in enumerate(runs):
        for partition, (low, high) in run.offsets.items():
            below = furthest.get(partition, -1)
            if low < below:
                yield number, Apart(run.first, run.last, partition, below)
            furthest[partition] = max(high, below)


def _between(chain_id: str, runs: Iterable[Run]) -> tuple[dict[Finding, int], list[Finding]]:
    """Gaps, with when the link after each came; and last links that the next run does not follow."""
    gaps, replaced = dict[Finding, int](), list[Finding]()
    before = Run(0, 0, "", "", "", 0, {})
    for run in runs:
        if run.first == before.last:
            continue  # a fork, and the chain goes on from the first of the two
        if run.first > before.last + 1:
            gaps[Finding(Fault.DROPPED, chain_id, before.last + 1, run.first - 1)] = run.arrived_ms
        elif run.previous_sha256 != before.sha256:
            replaced.append(_named(Fault.REPLACED, chain_id, before))
        before = run
    return gaps, replaced


def _alone(chain_id: str, runs: Sequence[Run]) -> Iterator[Finding]:
    """What is wrong with links that stand alone."""
    last = 0
    for run in runs:
        if not run.is_whole:
            yield _named(Fault.ALTERED, chain_id, run)
        if run.first == last:
            yield _named(Fault.FORKED, chain_id, run)
        last = run.last
    for number, _ in _behind(runs):
        yield _named(Fault.REORDERED, chain_id, runs[number])


def _against(chain_id: str, runs: Sequence[Run], kept: Mapping[int, str]) -> Iterator[Finding]:
    """Links that are others than heads which were kept."""
    for position, sha256 in kept.items():
        number = _holder(runs, position)
        if number is not None and runs[number].sha256 != sha256:
            yield _named(Fault.REPLACED, chain_id, runs[number])


def _holder(runs: Sequence[Run], position: int) -> int | None:
    """Which run has a place; the last, if two links have it."""
    number = bisect_right(runs, position, key=lambda run: run.first) - 1
    return number if number >= 0 and runs[number].last >= position else None


def _named(fault: Fault, chain_id: str, run: Run) -> Finding:
    return Finding(fault, chain_id, run.last, run.last, run.decision_id)
