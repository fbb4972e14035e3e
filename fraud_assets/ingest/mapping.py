"""A mapping says which of a stranger's columns is which field of a contract; TOML on disk."""

from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

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
BUILT_IN = "fraud_assets.ingest.mappings"


class BadMapping(ValueError):
    """A mapping file that cannot be used; the message names the entry and the fix."""


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from", "how": "as"}):
    """How one field is filled: from a source column, or with one constant value.

    prefix: put before a text. unit, format and timezone belong to `time` (text without an offset is
    in `timezone`), digits to `money`.
    """

    source: str | None = None
    value: str | int | bool | None = None
    how: How | None = None
    prefix: str = ""
    digits: int = 2
    unit: Literal["s", "ms"] = "ms"
    format: str | None = None
    timezone: str = "UTC"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One lake table and its columns. identity: the fields that tell two rows apart."""

    table: str
    columns: dict[str, str | Column]
    identity: tuple[str, ...] = ("transaction_id",)

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
    identity: tuple[str, ...] = ("profile_id",)


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The label-fact table; fields that the transaction has too are copied from it."""

    table: str
    is_fraud: str
    delay_days: int


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """card: the field whose values the protocol calls cards."""

    card: str


class Csv(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delimiter: str = ","


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole mapping file.

    service: the feature service that scores these transactions. catalogue: the module whose
    `registry()` declares it, by its name under features/catalogue or in full.
    """

    transactions: Table
    labels: Labels | None = None
    profiles: tuple[Profile, ...] = ()
    evaluation: Evaluation | None = None
    service: str = "fraud_scoring"
    catalogue: str = "ticketing"
    csv: Csv = Csv()


def load_mapping(name: str) -> tuple[str, Mapping]:
    """(bare name, mapping) of a TOML file, or of a built-in one by its bare name.

    Raises BadMapping naming the file and the entry.
    """
    path = Path(name)
    bare = path.stem
    built_in = resources.files(BUILT_IN).joinpath(f"{bare}.toml")
    if path.exists():
        text = path.read_text()
    elif path.parent == Path() and built_in.is_file():
        text = built_in.read_text()
    else:
        raise BadMapping(f"BadMapping: no file {name}. Built in: {', '.join(built_in_names())}. Copy one and edit it.")
    try:
        mapping = msgspec.toml.decode(text, type=Mapping)
    except msgspec.DecodeError as error:
        raise BadMapping(f"BadMapping: {name}: {error}") from error
    for table in (mapping.transactions, *mapping.profiles):
        _check_table(name, table)
    return bare, mapping


def built_in_names() -> list[str]:
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files(BUILT_IN).iterdir()
        if entry.name.endswith(".toml")
    )


def _check_table(name: str, table: Table) -> None:
    if table.table not in TABLES:
        raise BadMapping(f"BadMapping: {name}: no table {table.table!r}. Known: {', '.join(TABLES)}.")
    fields = msgspec.structs.fields(table.contract)
    required = {field.name for field in fields if field.required}
    unknown = sorted(set(table.columns) - {field.name for field in fields})
    missing = sorted(required - set(table.columns))
    if unknown or missing:
        raise BadMapping(
            f"BadMapping: {name}: {table.table} has no field {unknown} and needs {missing}. "
            f"Its fields: {', '.join(field.name for field in fields)}."
        )
    for field in (*table.identity, *table.columns):
        entry = table.column(field)
        if entry is None or (entry.source is None) == (entry.value is None):
            raise BadMapping(
                f"BadMapping: {name}: {table.table}.{field} needs either `from` (a column) or `value` (a constant)."
            )
