"""Payments of three makers in one shape: ours, the Fraud Detection Handbook's and Sparkov's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from simulator.build import build_world
from simulator.history import purchases_of_day
from simulator.places import price_level
from simulator.plan import plan_attacks
from simulator.purchases import concat
from simulator.spec import WorldSpec
from simulator.truth import truth_of
from simulator.world import Flags, Floats, Ints


class NoReference(ValueError):
    """A folder without any data set to be compared with."""


@dataclass(frozen=True)
class Payments:
    """In time order. account, receiver: who pays and who is paid, as codes; amount: in one currency, major units, above 0."""

    name: str
    time_ms: Ints
    account: Ints
    receiver: Ints
    amount: Floats
    is_fraud: Flags

    def __len__(self) -> int:
        return len(self.time_ms)


def ours(spec: WorldSpec) -> Payments:
    """Every purchase of a world's days. Amounts in dollars' worth; the receiver is the event."""
    world = build_world(spec)
    attack = plan_attacks(world)
    rows = concat([purchases_of_day(world, attack, day) for day in range(spec.days)])
    return _ordered(
        f"simulator, seed {spec.seed}",
        rows.time_ms,
        rows.account,
        rows.event,
        rows.amount_minor / 100 / price_level()[world.events.country[rows.event]],
        truth_of(world, rows, attack.campaigns).is_fraud,
    )


def references(folder: Path) -> list[Payments]:
    """Those data sets that are there. Raises NoReference if none is."""
    found = [
        read(folder / name / "transactions.parquet")
        for name, read in (("handbook", handbook), ("sparkov", sparkov))
        if (folder / name / "transactions.parquet").exists()
    ]
    if not found:
        raise NoReference(
            f"NoReference: {folder} holds neither handbook/ nor sparkov/transactions.parquet. Name the folder with --data or"
            " FRAUD_DATA_DIR."
        )
    return found


def handbook(file: Path) -> Payments:
    """The Handbook's; its scenario column, the answer sheet, is not read."""
    rows = pq.read_table(file, columns=["TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"])
    time_ms = pc.cast(rows["TX_DATETIME"], pa.timestamp("ms"), safe=False).cast(pa.int64()).to_numpy()
    amount, is_fraud = rows["TX_AMOUNT"].to_numpy(), rows["TX_FRAUD"].to_numpy() == 1
    return _ordered(
        "Handbook", time_ms, rows["CUSTOMER_ID"].to_numpy(), rows["TERMINAL_ID"].to_numpy(), amount, is_fraud
    )


def sparkov(file: Path) -> Payments:
    """Sparkov's."""
    rows = pq.read_table(file, columns=["unix_time", "cc_num", "merchant", "amt", "is_fraud"])
    time_ms, amount = rows["unix_time"].to_numpy() * 1_000, rows["amt"].to_numpy()
    return _ordered(
        "Sparkov", time_ms, _codes(rows["cc_num"]), _codes(rows["merchant"]), amount, rows["is_fraud"].to_numpy() == 1
    )


def _codes(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.combine_chunks().dictionary_encode().indices.to_numpy(), dtype=np.int64)


def _ordered(
    name: str,
    time_ms: npt.NDArray[np.integer],
    account: npt.NDArray[np.integer],
    receiver: npt.NDArray[np.integer],
    amount: npt.NDArray[np.floating],
    is_fraud: Flags,
) -> Payments:
    """In time order, without what cost nothing."""
    order = np.argsort(time_ms, kind="stable")
    order = order[amount[order] > 0]
    return Payments(
        name,
        time_ms[order].astype(np.int64),
        account[order].astype(np.int64),
        receiver[order].astype(np.int64),
        amount[order].astype(np.float64),
        is_fraud[order],
    )
