"""What the sources say of each transaction, in columns: the same rule as `facts.verdict_of`, for reports over millions.

Pure. Time is arrival: a statement was known when it had reached us, whatever its source says.
"""

import polars as pl
import pyarrow as pa

from fraud_assets.labels.facts import PRECEDENCE
from fraud_assets.stores.lake import Lake

IDENTITY = ("account_id", "transaction_id")
COLUMNS = ("label_id", *IDENTITY, "event_time_ms", "source", "revision", "is_fraud", "ingested_at_ms")
FACT_COLUMNS = (*IDENTITY, "event_time_ms", "is_fraud", "sign", "ingested_at_ms")


def frame(rows: pa.Table) -> pl.DataFrame:
    """An Arrow table as Polars sees it, of no rows too."""
    return pl.DataFrame(pl.from_arrow(rows))


def statements_as_known(lake: Lake, as_of_ms: int, *, duplicates: bool = False) -> pl.DataFrame:
    """Labels that had arrived before `as_of_ms`, in log order. duplicates: with the copies that the dedupe stage marked."""
    return frame(lake.scan("labels", as_known_at_ms=as_of_ms, columns=COLUMNS, duplicates=duplicates))


def facts_as_known(lake: Lake, as_of_ms: int) -> pl.DataFrame:
    """Label facts that had arrived before `as_of_ms`, in log order."""
    return frame(lake.scan("label_facts", as_known_at_ms=as_of_ms, columns=FACT_COLUMNS))


def transactions_of(lake: Lake, spoken: pl.DataFrame, as_of_ms: int) -> pl.DataFrame:
    """Identity and event time of the transactions that `spoken` names, as far as they had arrived before `as_of_ms`.

    Few are spoken of: files without one are read no further than their ids.
    """
    ids = pa.array(spoken["transaction_id"].unique().sort().to_list(), pa.string())
    columns = (*IDENTITY, "event_time_ms")
    rows = lake.scan("transactions", as_known_at_ms=as_of_ms, columns=columns, among=("transaction_id", ids))
    known = frame(rows).unique(list(IDENTITY), keep="first", maintain_order=True)
    return known.join(spoken.select(IDENTITY).unique(), on=IDENTITY, how="semi").sort(IDENTITY)


def by_source(statements: pl.DataFrame) -> pl.DataFrame:
    """The statement of each (transaction, source) that stands: of its label ids the first copy, of those the last revision."""
    spoken = statements.sort("ingested_at_ms", "label_id", maintain_order=True)
    once = spoken.unique([*IDENTITY, "label_id"], keep="first", maintain_order=True)
    return once.sort("revision", "event_time_ms", "label_id").unique([*IDENTITY, "source"], keep="last").sort(*COLUMNS)


def verdicts(statements: pl.DataFrame) -> pl.DataFrame:
    """(identity, source, is_fraud): of those who spoke, what the weightiest says. Nothing of transactions left in silence."""
    rank = {str(source): place for place, source in enumerate(PRECEDENCE)}
    weight = pl.col("source").replace_strict(rank, return_dtype=pl.Int8)
    ordered = by_source(statements).sort(weight, *IDENTITY)
    return ordered.unique(list(IDENTITY), keep="first").select(*IDENTITY, "source", "is_fraud").sort(*IDENTITY)


def standing_frauds(facts: pl.DataFrame) -> pl.DataFrame:
    """(identity) of the transactions of which a fraud fact stands: facts less retractions."""
    fraud = (pl.col("sign").cast(pl.Int64) * pl.col("is_fraud").cast(pl.Int64)).sum()
    return (
        facts.group_by(IDENTITY).agg(fraud.alias("fraud")).filter(pl.col("fraud") > 0).select(IDENTITY).sort(IDENTITY)
    )


def cleared(statements: pl.DataFrame) -> pl.DataFrame:
    """(identity) of the transactions that somebody looked at and called legitimate, and nobody weightier fraud."""
    return verdicts(statements).filter(~pl.col("is_fraud")).select(IDENTITY)
