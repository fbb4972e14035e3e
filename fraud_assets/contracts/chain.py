"""The hash chain of decisions: each names the digest of the one before it, so that none can change, go or move unseen.

A chain is what one scorer decided, one link after the other; it goes on over restarts (`api/journal.py`). A link's digest is
SHA-256 of the decision's canonical JSON without the digest itself: fields as declared, names of free-form
objects sorted, defaults left out. The lake gives the same struct back, and so the same digest.

Who can rewrite every later link can rewrite a chain: keep a head elsewhere now and then, and give it to the verifier.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from fraud_assets.contracts.events import Decision

# What a digest is over.
canonical = msgspec.json.Encoder(order="deterministic").encode


class Head(NamedTuple):
    """The newest link of a chain; position 0 is before the first."""

    chain_id: str
    position: int = 0
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.chain_id}:{self.position}:{self.sha256}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Of `chain:position:sha256`. Raises ValueError otherwise."""
        chain_id, position, sha256 = text.split(":")
        if not chain_id or not position.isdecimal() or len(sha256) != 64:
            raise ValueError(text)
        return cls(chain_id, int(position), sha256)


class _Place(msgspec.Struct, omit_defaults=True):
    """A decision's last fields but for the digest, so its place is written behind what there is, and that is not copied."""

    chain_id: str = ""
    chain_position: int = 0
    previous_sha256: str = ""


def seal(decision: Decision, head: Head) -> tuple[bytes, Head]:
    """A decision as JSON, linked to the head of its chain; and the new head. Raises ValueError if it is a link already."""
    if decision.chain_position:
        raise ValueError(f"{decision.decision_id} is link {decision.chain_position} of {decision.chain_id} already")
    return linked(canonical(decision), head)


def linked(decision: bytes, head: Head) -> tuple[bytes, Head]:
    """`seal` of a decision that is canonical JSON, and no link yet."""
    said = memoryview(decision)[:-1]
    place = b"," + canonical(_Place(head.chain_id, head.position + 1, head.sha256))[1:]
    hashed = hashlib.sha256(said)
    hashed.update(place)
    sha256 = hashed.hexdigest()
    whole = b"".join((said, memoryview(place)[:-1], b',"sha256":"', sha256.encode(), b'"}'))
    return whole, Head(head.chain_id, head.position + 1, sha256)


def digest(decision: Decision) -> str:
    """What `sha256` of a decision must be."""
    return hashlib.sha256(canonical(msgspec.structs.replace(decision, sha256=""))).hexdigest()


class Fault(StrEnum):
    ALTERED = "altered"
    """Its own digest is not that of what it says."""
    REPLACED = "replaced"
    """The next link, or a head that was kept, names another digest than this one has."""
    DROPPED = "dropped"
    """No link has this position, though later ones are there."""
    FORKED = "forked"
    """Two different links have one position."""
    REORDERED = "reordered"
    """It stands before an earlier link of its chain in their partition of the log."""
    CUT = "cut"
    """The chain ends before a head that was kept of it."""


class Finding(NamedTuple):
    """What is wrong, from `position` to `last`; decision_id is empty where there is no record to name."""

    fault: Fault
    chain_id: str
    position: int
    last: int
    decision_id: str = ""

    def __str__(self) -> str:
        many = f"-{self.last}" if self.last > self.position else ""
        name = f" (decision {self.decision_id})" if self.decision_id else ""
        return f"{self.fault}: {self.chain_id} {self.position}{many}{name}"


class Link(NamedTuple):
    """What verifying keeps of a decision. partition, offset: where the log has it. is_whole: its digest is right.

    arrived_ms: when the log had it; not of the digest, for the scorer cannot know it.
    """

    position: int
    sha256: str
    previous_sha256: str
    decision_id: str
    partition: int
    offset: int
    is_whole: bool
    arrived_ms: int = 0

    @classmethod
    def of(cls, decision: Decision, partition: int, offset: int, arrived_ms: int = 0) -> "Link":
        return cls(
            decision.chain_position, decision.sha256, decision.previous_sha256, decision.decision_id, partition, offset,
            digest(decision) == decision.sha256, arrived_ms,
        )  # fmt: skip


def verify(chain_id: str, links: Iterable[Link], heads: Mapping[int, str] | None = None) -> tuple[list[Finding], Head]:
    """Everything that is wrong with a chain, by position, and its head.

    links: in any order, each once (what was delivered twice is marked in the lake, and left out). heads: digests
    by position that were kept elsewhere.
    """
    ordered = sorted(links, key=_in_order)
    head = Head(chain_id, ordered[-1].position, ordered[-1].sha256) if ordered else Head(chain_id)
    found = [Finding(Fault.ALTERED, chain_id, *_named(link)) for link in ordered if not link.is_whole]
    before = Link(0, "", "", "", 0, 0, True)
    for link in ordered:
        if link.position == before.position:
            found.append(Finding(Fault.FORKED, chain_id, *_named(link)))
            continue
        if link.position > before.position + 1:
            found.append(Finding(Fault.DROPPED, chain_id, before.position + 1, link.position - 1))
        elif link.previous_sha256 != before.sha256:
            found.append(Finding(Fault.REPLACED, chain_id, *_named(before)))
        before = link
    found += _reordered(chain_id, ordered)
    found += _against(chain_id, {link.position: link for link in ordered}, head, heads or {})
    return by_position(found), head


def by_position(found: Iterable[Finding]) -> list[Finding]:
    """Each once."""
    return sorted(set(found), key=lambda one: (one.position, one.fault, one.last, one.decision_id))


def _in_order(link: Link) -> tuple[object, ...]:
    """One order, whatever order they come in; of two links in one place of the log, too."""
    return link.position, link.partition, link.offset, link.sha256, link.previous_sha256, link.decision_id


def _named(link: Link) -> tuple[int, int, str]:
    return link.position, link.position, link.decision_id


def _reordered(chain_id: str, ordered: list[Link]) -> list[Finding]:
    """Links that stand before an earlier one in their partition, for a scorer sends its links in order."""
    found, furthest = [], dict[int, int]()
    for link in ordered:
        if link.offset < furthest.get(link.partition, -1):
            found.append(Finding(Fault.REORDERED, chain_id, *_named(link)))
        furthest[link.partition] = max(link.offset, furthest.get(link.partition, -1))
    return found


def _against(chain_id: str, links: Mapping[int, Link], head: Head, kept: Mapping[int, str]) -> list[Finding]:
    """Heads that were kept, beside what the chain says now."""
    found = [
        Finding(Fault.REPLACED, chain_id, *_named(links[position]))
        for position, sha256 in kept.items()
        if position in links and links[position].sha256 != sha256
    ]
    furthest = max(kept, default=0)
    if furthest > head.position:
        found.append(Finding(Fault.CUT, chain_id, head.position + 1, furthest))
    return found
