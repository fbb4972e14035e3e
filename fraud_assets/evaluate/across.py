"""`python -m fraud_assets.evaluate.across`: a detector that learns in one simulated world and is judged in another.

Nobody of the one lives in the other, so nothing can be learnt by heart. A world in which such a detector is nearly perfect is too easy to
say anything of a model, and one in which it is nearly blind is hopeless. One JSON line on standard output.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.evaluate.model import fit_and_score
from fraud_assets.evaluate.run import FPR
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.stores.lake import Lake
from fraud_assets.training.dataset import NoLabels, TrainingSet, after_warm_up, training_set, window_as_of
from fraud_assets.training.metrics import average_precision, recall_at_fpr

BAND = (0.6, 0.95)
"""Average precision by the truth that a world of use should give."""

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class NoWorld(ValueError):
    """A folder that holds no history, or has no truth beside it."""


def settled(lake: Lake, delay_days: float, warm_up_days: int) -> TrainingSet:
    """A history's payments between the warm-up and the label delay before its end, with vectors and verdicts; its label facts are
    written anew. Raises NoWorld, NoLabels.
    """
    times = lake.scan("transactions", columns=["event_time_ms"])["event_time_ms"].to_numpy()
    if not len(times):
        raise NoWorld(f"NoWorld: {lake.uri} holds no transactions. `python -m simulator history --out` writes some.")
    start_ms, end_ms = int(times.min()) // DAY_MS * DAY_MS, -(-(int(times.max()) + 1) // DAY_MS) * DAY_MS
    write_imported_facts(lake, start_ms, end_ms, delay_days)
    first_day = str(np.datetime64(start_ms, "ms"))[:10]
    window = after_warm_up(window_as_of(end_ms, (end_ms - start_ms) / DAY_MS, delay_days), first_day, warm_up_days)
    return training_set(lake, ServicePlan(EnginePlan(registry()), FRAUD_SCORING), window)


def truth_beside(lake: Path, found: TrainingSet) -> tuple[Flags, list[str | None]]:
    """Of each payment whether it is fraud, and of which kind. Raises NoWorld."""
    file = lake.parent / "truth" / "transactions.parquet"
    if not file.exists():
        raise NoWorld(f"NoWorld: {file} is missing; a simulated history has its truth beside its lake.")
    truth = pl.read_parquet(file, columns=["transaction_id", "is_fraud", "kind"])
    asked = pl.DataFrame({"transaction_id": found.rows["transaction_id"].to_pylist()})
    told = asked.join(truth, on="transaction_id", how="left", maintain_order="left")
    return told["is_fraud"].fill_null(value=False).to_numpy(), told["kind"].to_list()


def judged(score: Floats, by_label: Flags, truth: Flags, kinds: Sequence[str | None]) -> dict[str, object]:
    """Average precision by truth and by labels; of each kind its own against all that is honest, and its recall where 1 % of those is flagged."""
    kind = np.array([name or "" for name in kinds])
    by_kind = {}
    for name in np.unique(kind[truth]).tolist():
        among = ~truth | (kind == name)
        mine = truth[among]
        by_kind[name] = {
            "frauds": int(mine.sum()),
            "average_precision": round(average_precision(mine, score[among]), 3),
            "recall_at_1pct_fpr": round(recall_at_fpr(mine, score[among], FPR), 3),
        }
    reached = average_precision(truth, score)
    return {
        "average_precision": round(reached, 3),
        "in_band": BAND[0] <= reached <= BAND[1],
        "average_precision_by_labels": round(average_precision(by_label, score), 3),
        "recall_at_1pct_fpr": round(recall_at_fpr(truth, score, FPR), 3),
        "by_kind": by_kind,
    }


def across(train: TrainingSet, test: TrainingSet, truth: Flags, kinds: Sequence[str | None]) -> dict[str, object]:
    """Learns from one world's labels, is judged by the other's truth. truth, kinds: (n,) of `test`."""
    score = fit_and_score(train.features, train.is_fraud, test.features)
    sizes = {
        "rows": len(train), "called_fraud": int(train.is_fraud.sum()), "judged": len(test), "frauds": int(truth.sum()),
    }  # fmt: skip
    return {**sizes, **judged(score, test.is_fraud, truth, kinds)}


def main(arguments: list[str] | None = None) -> int:
    """0 with one line, 2 if a folder holds no simulated history."""
    parser = argparse.ArgumentParser(
        prog="python -m fraud_assets.evaluate.across", description="Learn in one simulated world, be judged in another."
    )
    parser.add_argument("--train", required=True, type=Path, metavar="LAKE", help="of one history")
    parser.add_argument("--test", required=True, type=Path, metavar="LAKE", help="of another, its truth beside it")
    parser.add_argument(
        "--delay-days", type=float, default=7.0, metavar="N", help="until a silent label means no fraud"
    )
    parser.add_argument("--warm-up-days", type=int, default=7, metavar="N", help="left out at the start of both")
    options = parser.parse_args(arguments)
    try:
        train, test = (
            settled(Lake(folder), options.delay_days, options.warm_up_days) for folder in (options.train, options.test)
        )
        found = across(train, test, *truth_beside(options.test, test))
    except (NoWorld, NoLabels) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 2
    print(json.dumps({"train": str(options.train), "test": str(options.test), **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
