"""Rows as Arrow tables with exactly the columns of the contracts, and as files of the lake."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fraud_assets.contracts.events import (
    CONTRACT_VERSION,
    Activity,
    ActivityKind,
    Event,
    Label,
    LabelSource,
    Profile,
    Transaction,
)
from simulator.activity import NOBODY, ActivityRows
from simulator.build import World
from simulator.catalogue import CATEGORIES
from simulator.habits import USER_AGENTS
from simulator.ids import hex_ids
from simulator.labels import StatedLabels
from simulator.places import COUNTRY_CODES, CURRENCIES
from simulator.profiles import ProfileRows
from simulator.purchases import BANK, METHODS, NO_PLACE, OUTCOMES, TIERS, Purchases
from simulator.spec import DAY_MS
from simulator.world import Flags, Ints, Names

ACTIVITY_KINDS = (ActivityKind.VIEW, ActivityKind.INVENTORY, ActivityKind.EVENT_CLOSED)
LABEL_SOURCES = (LabelSource.CHARGEBACK, LabelSource.MANUAL_REVIEW, LabelSource.OPERATOR)
FILE_NAME = "history.parquet"

Columns = dict[str, pa.Array]


def transaction_columns(world: World, names: Names, rows: Purchases, ids: pa.StringArray) -> Columns:
    """The contract's fields of each purchase."""
    event, country = rows.event, world.events.country[rows.event]
    hidden = rows.lat_e6 == NO_PLACE
    return {
        "event_time_ms": pa.array(rows.time_ms),
        "transaction_id": ids,
        "account_id": _named(names.account, rows.account),
        "event_id": _named(names.event, event),
        "promoter_id": _named(names.promoter, world.events.promoter[event]),
        "device_id": _named(names.device, rows.device),
        "ip_token": _named(names.ip_token, rows.ip),
        "ip_country": _word(COUNTRY_CODES, world.network.country[rows.ip]),
        "card_token": _named(names.card_token, rows.card, rows.method >= BANK),
        "email_token": _named(names.email_token, rows.account),
        "payment_method": _word(METHODS, rows.method),
        "amount_minor": pa.array(rows.amount_minor),
        "currency": _word(CURRENCIES, country),
        "ticket_count": pa.array(rows.tickets.astype(np.int64)),
        "tier": _word(TIERS, rows.tier),
        "category": _word(CATEGORIES, world.events.category[event]),
        "billing_country": _word(COUNTRY_CODES, rows.billing),
        "lat_e6": pa.array(rows.lat_e6.astype(np.int64), mask=hidden),
        "lon_e6": pa.array(rows.lon_e6.astype(np.int64), mask=hidden),
        "user_agent": _word(USER_AGENTS, world.devices.user_agent[rows.device]),
        "outcome": _word(OUTCOMES, rows.outcome),
    }


def activity_columns(world: World, names: Names, rows: ActivityRows, number: npt.NDArray[np.uint64]) -> Columns:
    """The contract's fields of each happening."""
    return {
        "event_time_ms": pa.array(rows.time_ms),
        "activity_id": hex_ids("act_", number, world.spec.seed),
        "kind": _word(ACTIVITY_KINDS, rows.kind),
        "event_id": _named(names.event, rows.event),
        "promoter_id": _named(names.promoter, world.events.promoter[rows.event]),
        "account_id": _named(names.account, rows.account, rows.account == NOBODY),
        "device_id": _named(names.device, rows.device, rows.device == NOBODY),
        "inventory": pa.array(rows.inventory, mask=rows.inventory == NOBODY),
        "tickets_sold": pa.array(rows.tickets_sold, mask=rows.tickets_sold == NOBODY),
        "capacity": pa.array(rows.capacity, mask=rows.capacity == NOBODY),
    }


def profile_columns(world: World, names: Names, rows: ProfileRows, number: npt.NDArray[np.uint64]) -> Columns:
    """The contract's fields of each profile version."""
    people = world.accounts
    return {
        "event_time_ms": pa.array(rows.time_ms),
        "profile_id": hex_ids("prof_", number, world.spec.seed),
        "account_id": _named(names.account, rows.account),
        "created_at_ms": pa.array(people.created_ms[rows.account]),
        "address_changed_at_ms": pa.array(rows.changed_ms[:, 0]),
        "email_changed_at_ms": pa.array(rows.changed_ms[:, 1]),
        "phone_changed_at_ms": pa.array(rows.changed_ms[:, 2]),
        "home_country": _word(COUNTRY_CODES, people.country[rows.account]),
        "home_lat_e6": pa.array((people.lat[rows.account] * 1_000_000).astype(np.int64)),
        "home_lon_e6": pa.array((people.lon[rows.account] * 1_000_000).astype(np.int64)),
    }


def _named(text: pa.StringArray, index: npt.NDArray[np.integer], absent: Flags | None = None) -> pa.Array:
    return text.take(pa.array(index, mask=absent))


def _word(words: tuple[str, ...], index: npt.NDArray[np.integer]) -> pa.Array:
    return pa.array([str(word) for word in words], type=pa.string()).take(pa.array(index))


def as_table(contract: type[Event], columns: Columns) -> pa.Table:
    """The contract's columns in the contract's order; a missing or unknown one is an error."""
    n = len(columns["event_time_ms"])
    whole = {"schema_version": pa.array(np.full(n, CONTRACT_VERSION, dtype=np.int64)), **columns}
    declared = msgspec.structs.fields(contract)
    differ = {field.name for field in declared} ^ set(whole)
    if differ:
        raise ValueError(f"{contract.__name__}: columns differ from the contract: {sorted(differ)}")
    schema = [pa.field(f.name, whole[f.name].type, nullable=f.default is None) for f in declared]
    return pa.table([whole[field.name] for field in schema], schema=pa.schema(schema))


def as_imported(table: pa.Table, topic: str, first_offset: int) -> pa.Table:
    """Lake columns of imported history: it arrived when it happened, in one partition, in this order."""
    n = len(table)
    arrival: dict[str, pa.Array] = {
        "ingested_at_ms": table["event_time_ms"],
        "source_topic": pa.repeat(pa.scalar(topic), n),
        "source_partition": pa.array(np.zeros(n, dtype=np.int32)),
        "source_offset": pa.array(np.arange(first_offset, first_offset + n, dtype=np.int64)),
        "is_duplicate": pa.array(np.zeros(n, dtype=bool)),
    }
    for name, column in arrival.items():
        table = table.append_column(pa.field(name, column.type, nullable=False), column)
    return table


class LakeTable:
    """One table of the lake, written a day at a time in log order.

    Files appear whole or not at all: each is written beside its place and renamed into it.
    """

    def __init__(
        self, lake: Path, name: str, contract: type[Event], file_name: str = FILE_NAME, first_offset: int = 0
    ) -> None:
        self.folder = lake / name
        self.topic = f"import.{name}.v1"
        self.contract = contract
        self.file_name = file_name
        self.first_offset = first_offset
        self.rows = 0
        for old in self.folder.glob(f"event_date=*/{file_name}"):
            old.unlink()  # an earlier history of ours; other files of the table are left alone

    def append(self, columns: Columns) -> None:
        """Write rows that follow all earlier ones; each event date's rows go to that date's folder."""
        table = as_imported(as_table(self.contract, columns), self.topic, self.first_offset + self.rows)
        for date, rows in by_date(table):
            write_atomically(rows, self.folder / f"event_date={date}" / self.file_name)
        self.rows += len(table)


def by_date(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Slices of a time-ordered table, one per UTC date."""
    day: Ints = table["event_time_ms"].to_numpy() // DAY_MS
    for first in np.unique(day):
        start, stop = np.searchsorted(day, [first, first + 1])
        yield str(np.datetime64(int(first), "D")), table.slice(start, stop - start)


def write_atomically(table: pa.Table, path: Path) -> None:
    """A reader sees the old file, or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden and one folder up: a reader that lists the partition meanwhile does not meet it.
    draft = path.parent.parent / f".{path.parent.name}.{path.name}.{os.getpid()}"
    pq.write_table(table, draft, compression="zstd")
    draft.replace(path)


def label_columns(names: Names, labels: StatedLabels, seed: int) -> Columns:
    """The contract's fields of each label."""
    return {
        "event_time_ms": pa.array(labels.known_ms),
        "label_id": hex_ids("lbl_", labels.number, seed),
        "transaction_id": hex_ids("txn_", labels.transaction, seed),
        "account_id": _named(names.account, labels.account),
        "source": _word(LABEL_SOURCES, labels.source),
        "is_fraud": pa.array(labels.is_fraud),
        "revision": pa.array(labels.revision.astype(np.int64)),
    }


CONTRACT_OF: dict[str, type[Event]] = {
    "transactions": Transaction,
    "activity": Activity,
    "profiles": Profile,
    "labels": Label,
}
