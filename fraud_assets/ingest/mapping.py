"""A mapping says which of a stranger's columns is which field of a contract."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fraud_assets.contracts.events import Event
from fraud_assets.stores.schemas import TABLES

How = Literal[
    "text",  # trimmed; empty is null
    "integer",
    "flag",  # 0/1, true/false, yes/no
    "money",  # major units with `digits` decimals, to minor units
    "degrees",  # or any coordinate, to 1e-6 fixed point
    "time",  # a timestamp column, ISO text, text in `format`, or a number of `unit` since 1970
    "card_token",
    "email_token",
    "ip_token",
    "ip_country",
]


Identity = Annotated[tuple[str, ...], Meta(min_length=1)]


class BadMapping(ValueError):
    """A mapping file that cannot be used; the message names the entry and the fix."""


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from", "how": "as"}):
    """How one field is filled: from a source column, or with one constant value.

    default: where the column is blank. prefix: put before a text. unit, format and timezone belong to `time` (text without an offset is
    in `timezone`), digits to `money`.
    """

    source: str | None = None
    value: str | int | bool | None = None
    default: str | int | bool | None = None
    how: How | None = None
    prefix: str = ""
    digits: Annotated[int, Meta(ge=0, le=9)] = 2
    unit: Literal["s", "ms"] = "ms"
    format: str | None = None
    timezone: str = "UTC"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One lake table and its columns. identity: the fields that tell two rows apart."""

    table: str
    columns: dict[str, str | Column]
    identity: Identity = ("transaction_id",)

    @property
    def contract(self) -> type[Event]:
        return TABLES[self.table]

    def column(self, field: str) -> Column | None:
        """The field's column, the short form `field = "COLUMN"` spelt out; None if not mapped."""
        entry = self.columns.get(field)
        return Column(source=entry) if isinstance(entry, str) else entry


class Profile(Table, frozen=True, kw_only=True):
    """A table of its own file, looked for in the --profiles folder."""

    file: str
    identity: Identity = ("profile_id",)


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The label-fact table; fields that the transaction has too are copied from it.

    fraud, legitimate: what the column says for either, where that is not yes and no (0/1, true/false). blank_is_legitimate:
    the column names frauds alone, as a list of chargebacks does.
    """

    table: str
    is_fraud: str
    delay_days: Annotated[int, Meta(ge=0)]
    fraud: tuple[str, ...] = ()
    legitimate: tuple[str, ...] = ()
    blank_is_legitimate: bool = False


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """card: the field whose values the protocol calls cards."""

    card: str


class Csv(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole mapping file.

    service: the feature service that scores these transactions. service_with_profiles: the one that does when the
    profile files are given, if that is another. catalogue: the module whose
    `registry()` declares it, by its name under features/catalogue or in full.
    """

    transactions: Table
    labels: Labels | None = None
    profiles: tuple[Profile, ...] = ()
    evaluation: Evaluation | None = None
    service: str = "fraud_scoring"
    service_with_profiles: str | None = None
    catalogue: str = "ticketing"
    csv: Csv = Csv()
