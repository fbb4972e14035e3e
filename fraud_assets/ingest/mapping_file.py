"""A mapping on disk: TOML, read and checked before a single row is."""

from collections.abc import Collection
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import msgspec

from fraud_assets.ingest.convert import GIVES, time_fault
from fraud_assets.ingest.fields import Field, NotFlat, contract_fields
from fraud_assets.ingest.mapping import BadMapping, Column, Evaluation, How, Labels, Mapping, Table
from fraud_assets.stores.schemas import TABLES

BUILT_IN = "fraud_assets.ingest.mappings"
# What a label fact has that its transaction has not.
OF_A_FACT = frozenset({"fact_id", "is_fraud"})


def load_mapping(name: str, needed: Collection[str] | None = None) -> tuple[str, Mapping]:
    """(bare name, mapping) of a TOML file, or of a built-in one by its bare name.

    needed: the fields that transactions cannot do without; None is what their contract says. Raises BadMapping naming the file and the entry.
    """
    mapping = _decoded(name, _text(name))
    try:
        _check_table(mapping.transactions, needed)
        for table in mapping.profiles:
            _check_table(table)
        if mapping.labels is not None:
            _check_labels(mapping.labels, mapping.transactions)
        if mapping.evaluation is not None:
            _check_evaluation(mapping.evaluation, mapping.transactions)
    except BadMapping as fault:
        raise BadMapping(f"BadMapping: {name}: {fault}") from None
    return Path(name).stem, mapping


def built_in_names() -> list[str]:
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files(BUILT_IN).iterdir()
        if entry.name.endswith(".toml")
    )


def _text(name: str) -> str:
    path = Path(name)
    built_in = resources.files(BUILT_IN).joinpath(f"{path.stem}.toml")
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
        if path.parent == Path() and built_in.is_file():
            return built_in.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadMapping(f"BadMapping: {name} cannot be read as text: {error}. A mapping is a TOML file.") from error
    raise BadMapping(f"BadMapping: no file {name}. Built in: {', '.join(built_in_names())}. Copy one and edit it.")


def _decoded(name: str, text: str) -> Mapping:
    try:
        return msgspec.toml.decode(text, type=Mapping)
    except msgspec.ValidationError as error:
        fault = _named(msgspec.toml.decode(text)) or f"{error}. All entries are in docs/bring-your-own-data.md"
        raise BadMapping(f"BadMapping: {name}: {fault}.") from error
    except msgspec.DecodeError as error:
        raise BadMapping(f"BadMapping: {name} is no TOML: {error}.") from error


def _named(document: dict[str, Any]) -> str:
    """The first entry of a field that is none, by its name; msgspec would call it `columns[...]`."""
    profiles = document.get("profiles")
    for table in (document.get("transactions"), *(profiles if isinstance(profiles, list) else ())):
        columns = table.get("columns") if isinstance(table, dict) else None
        for field, entry in columns.items() if isinstance(columns, dict) else ():
            try:
                msgspec.convert(entry, str | Column)
            except msgspec.ValidationError as error:
                return f"{table.get('table')}.{field}: {error}. `as` is one of {', '.join(get_args(How))}; `unit` is ms or s"
    return ""


def _check_table(table: Table, needed: Collection[str] | None = None) -> None:
    fields = {field.name: field for field in _fields(table.table)}
    required = {field.name for field in msgspec.structs.fields(table.contract) if field.required}
    required = required if needed is None else required.intersection(needed)
    unknown, missing = sorted(set(table.columns) - set(fields)), sorted(required - set(table.columns))
    if unknown or missing:
        raise BadMapping(f"{table.table} has no field {unknown} and needs {missing}. Its fields: {', '.join(fields)}.")
    for name in (*table.identity, *table.columns):
        entry = table.column(name)
        if entry is None or (entry.source is None) == (entry.value is None):
            raise BadMapping(f"{table.table}.{name} needs either `from` (a column) or `value` (a constant).")
        _check_entry(f"{table.table}.{name}", entry, fields[name], _type_of(table, name))


def _check_entry(place: str, entry: Column, field: Field, wanted: object) -> None:
    for word, constant in (("value", entry.value), ("default", entry.default)):
        try:
            _ = constant is None or msgspec.convert(constant, wanted)
        except msgspec.ValidationError as error:
            raise BadMapping(f"{place}: {word} = {constant!r} is not what the contract takes: {error}.") from None
    if entry.value is not None:
        return
    if entry.how is not None and GIVES[entry.how] is not field.type:
        fitting = [how for how, gives in GIVES.items() if gives is field.type]
        raise BadMapping(
            f"{place}: as = {entry.how!r} gives {GIVES[entry.how].__name__}, and the contract takes {field.type.__name__}."
            f" Fitting: {', '.join(fitting)}."
        )
    if entry.how == "time":
        is_instant = field.name.endswith("_ms") and None not in (field.ge, field.le)
        fault = time_fault(entry) if is_instant else "as = 'time' is for instants, whose names end in _ms"
        if fault is not None:
            raise BadMapping(f"{place}: {fault}.")


def _check_labels(labels: Labels, transactions: Table) -> None:
    """Whatever a label fact holds is of the fact itself, copied from its transaction, or has a default."""
    fields = _fields(labels.table)
    both = sorted(set(labels.fraud) & set(labels.legitimate))
    if both or bool(labels.fraud) < bool(labels.legitimate):
        raise BadMapping(
            f"labels.fraud: {', '.join(both) or 'nothing'} is fraud, and labels.legitimate has {', '.join(labels.legitimate)}."
            " Name in each what the column says for it alone."
        )
    absent = OF_A_FACT - {field.name for field in fields}
    if absent:
        raise BadMapping(f"labels.table: {labels.table} holds no label facts; it has no {', '.join(sorted(absent))}.")
    known = OF_A_FACT | {field.name for field in _fields(transactions.table)}
    lacking = [one.name for one in fields if one.name not in known and one.default is None and not one.nullable]
    if lacking or "transaction_id" not in known:
        raise BadMapping(
            f"labels.table: {labels.table} needs {', '.join(lacking or ['transaction_id'])}, which {transactions.table} does not have."
            " Use the label table of the same domain."
        )


def _check_evaluation(evaluation: Evaluation, transactions: Table) -> None:
    fields = [field.name for field in _fields(transactions.table)]
    if evaluation.card not in fields:
        raise BadMapping(
            f"evaluation.card: {transactions.table} has no field {evaluation.card!r}. Its fields: {', '.join(fields)}."
        )


def _fields(table: str) -> tuple[Field, ...]:
    if table not in TABLES:
        raise BadMapping(f"no table {table!r}. Known: {', '.join(TABLES)}.")
    try:
        return contract_fields(TABLES[table])
    except NotFlat as error:
        raise BadMapping(f"{table} cannot be filled from a file: {error}.") from None


def _type_of(table: Table, name: str) -> object:
    return next(field.type for field in msgspec.structs.fields(table.contract) if field.name == name)
