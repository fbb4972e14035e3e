"""Payments and verdicts for tests of the identity graph: who paid with what."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from fraud_assets.labels.graph import COLUMNS, identity_edges
from fraud_assets.labels.propagation import Propagated, propagate
from fraud_assets.labels.shapes import Caps

CAPS = Caps(device=10, card=5, ip=20)
SCHEMA = pa.schema([(name, pa.int64() if name == "event_time_ms" else pa.string()) for name in COLUMNS])


class Payment(NamedTuple):
    """By default with a device, a card and an address of the account's own."""

    account: str
    number: int = 0
    device: str = ""
    card: str | None = ""
    ip: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        return self.account, f"{self.account}-{self.number}"

    def row(self) -> tuple[str, str, int, str, str | None, str]:
        card = f"card-{self.account}" if self.card == "" else self.card
        return *self.identity, self.number, self.device or f"d-{self.account}", card, self.ip or f"ip-{self.account}"


def table(payments: Iterable[Payment]) -> pa.Table:
    rows = [payment.row() for payment in payments]
    columns = [[row[place] for row in rows] for place in range(len(COLUMNS))]
    return pa.table(columns, schema=SCHEMA)


def identities(payments: Iterable[Payment]) -> pl.DataFrame:
    rows = [payment.identity for payment in payments]
    return pl.DataFrame(rows, schema={"account_id": pl.String, "transaction_id": pl.String}, orient="row")


def spread(
    payments: Sequence[Payment], frauds: Sequence[Payment], cleared: Sequence[Payment] = (), caps: Caps = CAPS
) -> Propagated:
    rows = table(payments)
    return propagate(identity_edges(rows), rows, identities(frauds), identities(cleared), caps)


def confidences(found: Propagated) -> dict[tuple[str, str], float]:
    """Of the payments that were written."""
    rows = found.rows.to_pydict()
    return dict(zip(zip(rows["account_id"], rows["transaction_id"], strict=True), rows["confidence"], strict=True))
