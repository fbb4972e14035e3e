"""A mapped file as the engine's log, with the verdict of every transaction beside it."""

import importlib
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.engine.batch import Log
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.registry import Registry, UnknownFeature
from fraud_assets.ingest.mapping import BadMapping, Mapping
from fraud_assets.ingest.prepare import prepare, prepare_profile
from fraud_assets.stores.frames import columns_from_arrow

CATALOGUE = "fraud_assets.features.catalogue"

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class History:
    """rows: the scored transactions in log order; all below is (n,) in that order.

    is_fraud is the truth the protocol measures by, and False without a verdict. Features never read
    it: they see label facts, each from the instant it became known. unread: profile tables that were given
    and that no feature of the service reads. rejected: rows of all files.
    """

    service: ServicePlan
    log: Log
    rows: pa.Table
    time_ms: Ints
    card: Ints
    is_fraud: Bools
    verdicts: pl.DataFrame
    rejected: int
    unread: tuple[str, ...] = ()


def load_history(mapping: Mapping, data: Path, profiles: Path | None, delay_days: int, key: TokenKey) -> History:
    """Read, check and index a mapped file. delay_days: when labels become known, for features too."""
    if mapping.labels is None or mapping.evaluation is None:
        raise BadMapping(
            "BadMapping: an evaluation needs [labels] and [evaluation] in the mapping; see the built-in handbook.toml."
        )
    service = service_of(mapping, with_profiles=profiles is not None)
    prepared = prepare(mapping, data, key, delay_days)
    tables, rejected, given = dict(prepared.tables), len(prepared.rejected), set[str]()
    for profile in mapping.profiles if profiles is not None else ():
        assert profiles is not None
        versions = prepare_profile(mapping, profile, profiles / profile.file, key)
        tables |= versions.tables
        given |= versions.tables.keys()
        rejected += len(versions.rejected)
    rows, facts = tables[mapping.transactions.table], tables[mapping.labels.table]
    verdicts = verdicts_of(rows, facts)
    return History(
        service=service,
        log=log_of(service, tables),
        rows=rows,
        time_ms=rows["event_time_ms"].to_numpy(),
        card=_codes(rows[mapping.evaluation.card]),
        is_fraud=verdicts["is_fraud"].fill_null(value=False).to_numpy(),
        verdicts=verdicts,
        rejected=rejected,
        unread=tuple(sorted(given - {source.table for source in service.sources})),
    )


def service_of(mapping: Mapping, *, with_profiles: bool = False) -> ServicePlan:
    """The mapping's feature service, compiled. Raises BadMapping if there is none that scores its transactions."""
    asked = (with_profiles and mapping.service_with_profiles) or mapping.service
    name = mapping.catalogue if "." in mapping.catalogue else f"{CATALOGUE}.{mapping.catalogue}"
    try:
        registry: Registry = importlib.import_module(name).registry()
        service = registry.service(asked)
    except ModuleNotFoundError as error:
        raise BadMapping(f"BadMapping: catalogue {mapping.catalogue!r}: no module {error.name}.") from error
    except AttributeError as error:
        raise BadMapping(f"BadMapping: catalogue {mapping.catalogue!r}: {name} has no registry().") from error
    except UnknownFeature as error:
        raise BadMapping(f"BadMapping: service of catalogue {mapping.catalogue!r}: {error}") from error
    if service.scored.table != mapping.transactions.table:
        raise BadMapping(
            f"BadMapping: service {service.name!r} scores {service.scored.table}, and the mapping fills"
            f" {mapping.transactions.table}. Set `service` and `catalogue`."
        )
    return ServicePlan(EnginePlan(registry), service)


def log_of(service: ServicePlan, tables: AbstractMapping[str, pa.Table]) -> Log:
    """Sources that the file has no rows of are left out: their features are null, as before a first event."""
    given = [source for source in service.sources if source.table in tables]
    return Log(service.engine, [columns_from_arrow(service.engine, source, tables[source.table]) for source in given])


def _codes(column: pa.ChunkedArray) -> Ints:
    """(n,) one integer for each distinct text."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)


def verdicts_of(rows: pa.Table, facts: pa.Table) -> pl.DataFrame:
    """is_fraud and label_known_at_ms of every transaction, in order; null without a fact."""
    known = facts.select(["transaction_id", "is_fraud", "event_time_ms"])
    verdicts = pl.DataFrame(pl.from_arrow(known)).rename({"event_time_ms": "label_known_at_ms"})
    asked = pl.DataFrame(pl.from_arrow(rows.select(["transaction_id"])))
    return asked.join(verdicts, on="transaction_id", how="left", maintain_order="left")
