"""The steps of an erasure, each of which may be the last that a process takes.

    1. what there is, is counted; of nothing no receipt is written
    2. *begun*: the receipt that vouches for the chain links that will be gone; again for each that comes meanwhile
    3. the lake and the tables beside it, file by file; the online store; its kept snapshots; PostgreSQL
    4. all of it is looked at again, and only if nothing is left:
    5. *finished*
Who dies in between has the person's receipt open, and the next run goes on under its number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from fraud_assets.contracts.tokens import TokenKey, subject_token
from fraud_assets.erasure import database
from fraud_assets.erasure.online import Keys
from fraud_assets.erasure.remains import remains
from fraud_assets.erasure.tables import Begin, Found, Step, Tables
from fraud_assets.features.registry import Registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.receipts import Receipts, Record, Stage
from fraud_assets.stores.state_files import StateFiles

Said = TypeVar("Said")


class StillThere(RuntimeError):
    """Rows came while others went: the account is still being used, or a sink repeated its last batch."""


@dataclass(frozen=True)
class Places:
    """Where a person may be. redis_url, with online_store_url, and database_url: empty for none."""

    lake_uri: str
    redis_url: str
    online_store_url: str
    database_url: str
    registry: Registry
    key: TokenKey
    dedupe_horizon_ms: int


@dataclass(frozen=True)
class Asked:
    """Who is erased, by whom and why; reason and by must not name the person."""

    account_id: str
    reason: str
    by: str


def look(places: Places, account_id: str) -> dict[str, int]:
    """Rows and keys of the person, by place; nothing is changed."""
    return _Erasure(places, account_id).counts()


def erase(places: Places, asked: Asked, now_ms: Callable[[], int], step: Step = lambda _: None) -> Record | None:
    """The finished receipt; None where there was nothing, and none was open. Raises StillThere, and what a place raises."""
    subject, receipts = subject_token(asked.account_id, places.key), Receipts(places.lake_uri)
    receipt = _Receipt(receipts, receipts.open(subject))
    erasure = _Erasure(places, asked.account_id, step, receipt.payments)
    found = erasure.find()
    counts = erasure.counts(found)
    if not counts and not receipt.number:
        return None
    epoch = erasure.epoch()

    def record(stage: Stage, counted: dict[str, int]) -> Record:
        return Record(
            receipt=receipt.number, stage=stage, at_ms=now_ms(), subject=subject, by=asked.by, reason=asked.reason, counts=counted, epoch=epoch,
        )  # fmt: skip

    def begin(of: Found) -> None:
        receipt.begin(of, record(Stage.BEGUN, of.rows))

    begin(found._replace(rows=counts))
    gone = erasure.erase(receipt.number, begin) | erasure.sweep()
    if left := erasure.counts():
        raise StillThere(
            f"StillThere: {_said(left)} came meanwhile. Receipt {receipt.number} stays open: repeat the command when the account is quiet."
        )
    rest = remains(
        places.registry,
        now_ms(),
        places.dedupe_horizon_ms,
        has_store=bool(places.redis_url),
        has_database=bool(places.database_url),
    )
    return receipts.append(replace(record(Stage.FINISHED, gone), remains=rest))


class _Receipt:
    """What one open receipt vouches for. number: empty until it is begun."""

    def __init__(self, receipts: Receipts, begun: Sequence[Record]) -> None:
        self._receipts = receipts
        self.number = begun[-1].receipt if begun else ""
        self._links = set(receipts.vouched())
        self._firsts = dict[str, int]()
        self.payments = dict[str, set[int]]()
        for record in begun:
            self._add(record)

    def begin(self, found: Found, record: Record) -> None:
        """Appends `record` with what of `found` it does not vouch for yet; nothing where there is no such."""
        links = [link for link in found.links if link not in self._links]
        firsts = {name: one for name, one in found.first_offsets.items() if one < self._firsts.get(name, one + 1)}
        payments = {name: sorted(those - self.payments.get(name, set())) for name, those in found.payments.items()}
        payments = {name: offsets for name, offsets in payments.items() if offsets}
        if self.number and not (links or firsts or payments):
            return
        made = self._receipts.append(replace(record, links=links, first_offsets=firsts, payments=payments))
        self.number = made.receipt
        self._add(made)

    def _add(self, record: Record) -> None:
        self._links |= set(record.links)
        for name, offset in record.first_offsets.items():
            self._firsts[name] = min(offset, self._firsts.get(name, offset))
        for name, offsets in record.payments.items():
            self.payments.setdefault(name, set()).update(offsets)


class _Erasure:
    def __init__(
        self,
        places: Places,
        account_id: str,
        step: Step = lambda _: None,
        payments: Mapping[str, set[int]] | None = None,
    ) -> None:
        self._places = places
        self._account_id = account_id
        self._step = step
        self._tables = Tables(Lake(places.lake_uri), account_id, step, payments or {})

    def find(self) -> Found:
        return self._tables.find()

    def counts(self, found: Found | None = None) -> dict[str, int]:
        counted = dict((found or self.find()).rows)
        if self._places.redis_url:
            counted |= self._with_keys(Keys.count)
        if self._places.database_url:
            counted |= database.count(self._places.database_url, self._account_id)
        return counted

    def sweep(self) -> dict[str, int]:
        return self._tables.sweep()

    def epoch(self) -> str:
        return self._with_keys(Keys.epoch) if self._places.redis_url else ""

    def erase(self, receipt: str, begin: Begin) -> dict[str, int]:
        gone = self._tables.erase(receipt, begin)
        self._step("snapshots")
        if dropped := StateFiles(self._places.lake_uri).drop_old(kept=0):
            gone["kept snapshots of the store"] = dropped
        if self._places.redis_url:
            self._step("store")
            gone |= self._with_keys(Keys.erase)
        if self._places.database_url:
            self._step("postgres")
            gone |= database.erase(self._places.database_url, self._account_id)
        return gone

    def _with_keys(self, ask: Callable[[Keys], Said]) -> Said:
        keys = Keys(self._places.redis_url, self._places.online_store_url, self._places.registry, self._account_id)
        try:
            return ask(keys)
        finally:
            keys.close()


def _said(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} of {place}" for place, count in counts.items())
