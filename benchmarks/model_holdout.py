"""What a model that the platform trains does afterwards, in worlds of the simulator; and what each idea of its features adds there.

`python -m benchmarks.model_holdout [--seeds N …] [--ablate]`: a world a seed, trained as of a day, judged on the fortnight after the window
by the truth and by the labels that the platform has in the end. A JSON line for each on standard output, tables on standard error.
"""

import argparse
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from benchmarks.worlds import (
    AS_OF_DATE,
    AS_OF_MS,
    DELAY_DAYS,
    Flags,
    Floats,
    after_window,
    as_of_day,
    service,
    world,
)
from fraud_assets.evaluate.across import truth_beside
from fraud_assets.evaluate.bar import progress_bar
from fraud_assets.evaluate.ideas import Arm, arms_of
from fraud_assets.evaluate.measure import Measures, ablation, markdown, measures_of
from fraud_assets.models.manifest import Thresholds
from fraud_assets.settings import Settings, read_settings
from fraud_assets.training.dataset import TrainingSet
from fraud_assets.training.evaluation import Confusion
from fraud_assets.training.fit import Refit
from fraud_assets.training.metrics import average_precision, recall_at_fpr
from fraud_assets.training.run import Trained, train
from fraud_assets.training.split import SplitKind
from fraud_assets.training.threshold import costs_of
from fraud_assets.training.tune import Budget

FPR = 0.01
RANKING = ("average_precision", "recall_at_1pct_fpr")
SHARES = ("accuracy", "fpr", "recall", "precision", "recall_with_review", "accuracy_of_letting_all_pass")
TRUTH, LABELS, TRUTH_OF_WEEK = "the truth", "labels", "the truth, since it was made"

Judged = dict[str, dict[str, float]]
Caught = dict[str, tuple[int, int, int]]
"""By kind of attack: its frauds, those denied, and those denied or looked at."""


class Held(NamedTuple):
    """What a world's model did by whom, which attacks it caught, and what each arm reached."""

    judged: Judged
    caught: Caught
    reached: list[dict[str, float]]


def trained_on(found: TrainingSet, folder: Path, settings: Settings) -> Trained:
    """As `fraud_model` trains, but that no study is cut by time: a world gives the same model on any machine."""
    budget = Budget(settings.tuning_trials, math.inf)
    return train(
        found, service(), folder / "models", AS_OF_DATE, DELAY_DAYS, budget, settings.exchange_rates, costs_of(settings),
        split_kind=SplitKind(settings.training_split),
    )  # fmt: skip


def shares(score: Floats, is_fraud: Flags, thresholds: Thresholds) -> dict[str, float]:
    """At `deny`, beside what letting everything pass would have; recall_with_review: frauds that are denied or looked at."""
    denied, stopped = (Confusion.at(value, score, is_fraud) for value in (thresholds.deny, thresholds.review))
    found = denied.accuracy, denied.fpr, denied.recall, denied.precision, stopped.recall, 1 - is_fraud.mean()
    return {name: float(math.nan if value is None else value) for name, value in zip(SHARES, found, strict=True)}


def judged(score: Floats, after: TrainingSet, truth: Flags, thresholds: Thresholds) -> Judged:
    """Since it was made: the second week alone, which it could have decided."""
    own = after.rows["event_time_ms"].to_numpy() >= AS_OF_MS
    return {
        TRUTH: shares(score, truth, thresholds),
        LABELS: shares(score, after.is_fraud, thresholds),
        TRUTH_OF_WEEK: shares(score[own], truth[own], thresholds),
    }


def caught(score: Floats, truth: Flags, attacks: Sequence[str | None], thresholds: Thresholds) -> Caught:
    """Of payments that are fraud by the truth; an attack may have others."""
    denied, stopped = score >= thresholds.deny, score >= thresholds.review
    kinds = np.array([kind or "" for kind in attacks])
    found = ((kind, truth & (kinds == kind)) for kind in np.unique(kinds[truth]).tolist())
    return {kind: (int(its.sum()), int(denied[its].sum()), int(stopped[its].sum())) for kind, its in found}


def ranked(then: TrainingSet, trained: Trained, after: TrainingSet, truth: Flags, arm: Arm) -> dict[str, float]:
    """What the winner's parameters make of the arm's features alone; of all of them, the model itself."""
    columns, fitted = list(arm.columns), trained.fitted
    names = [then.names[at] for at in columns]
    rows = np.arange(len(then), dtype=np.int64)
    booster = Refit(then.features[:, columns], then.is_fraud, names, fitted.best, fitted.seed, then.weight).on(rows)
    score = booster.inplace_predict(after.features[:, columns]).astype(np.float64)
    return dict(zip(RANKING, (average_precision(truth, score), recall_at_fpr(truth, score, FPR)), strict=True))


def of_world(seed: int, per_day: int, arms: list[Arm], settings: Settings, bar: Progress) -> Held:
    (task,) = bar.task_ids

    def say(text: str) -> None:
        bar.update(task, description=f"world {seed}: {text}")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("history")
        lake = world(folder, seed, per_day)
        say("vectors")
        then, after = as_of_day(lake), after_window(lake)
        truth, attacks = truth_beside(folder / "lake", after)
        say("training")
        trained = trained_on(then, folder, settings)
    score = trained.fitted.booster.inplace_predict(after.features).astype(np.float64)
    thresholds = trained.evaluation.thresholds
    held = Held(judged(score, after, truth, thresholds), caught(score, truth, attacks, thresholds), [])
    about = {
        "world": seed, "rows": len(then), "frauds": int(then.is_fraud.sum()), "deny": thresholds.deny,
        "review": thresholds.review, "trial": trained.fitted.best.number, "rounds": trained.fitted.best.rounds,
        "after": len(after), "after_frauds": int(truth.sum()), "after_called_fraud": int(after.is_fraud.sum()),
    }  # fmt: skip
    print(json.dumps({**about, "judged": held.judged, "caught": held.caught}), flush=True)
    for arm in arms:
        say(arm.name)
        held.reached.append(ranked(then, trained, after, truth, arm))
        print(
            json.dumps({"world": seed, "arm": arm.name, "features": len(arm.columns), **held.reached[-1]}), flush=True
        )
    return held


def holdout(worlds: Mapping[int, Judged]) -> str:
    """Markdown: a line for each world and judge, then what they are together, ± sd over worlds. In per cent."""
    lines = []
    for judge in (TRUTH, LABELS, TRUTH_OF_WEEK):
        for seed, found in worlds.items():
            lines.append([str(seed), judge, *(f"{100 * found[judge][name]:.2f}" for name in SHARES)])
        together: Measures = measures_of([{name: 100 * of[judge][name] for name in SHARES} for of in worlds.values()])
        lines.append(["all", judge, *(together[name].text(digits=2) for name in SHARES)])
    return markdown(["World", "by", *SHARES], lines)


def by_attack(worlds: Iterable[Caught]) -> str:
    """Markdown: a line for each kind of attack, over all worlds, the best caught first. In per cent of its frauds."""
    together: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for found in worlds:
        for kind, counts in found.items():
            together[kind].append(counts)
    summed = {kind: np.sum(counts, axis=0).tolist() for kind, counts in together.items()}
    lines = [
        [kind, str(frauds), *(f"{100 * n / frauds:.1f}" for n in (denied, stopped))]
        for kind, (frauds, denied, stopped) in sorted(summed.items(), key=lambda one: -one[1][1] / one[1][0])
    ]
    return markdown(["Attack", "frauds", "denied", "denied or looked at"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_holdout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="of the worlds")
    parser.add_argument("--per-day", type=int, default=2_000, metavar="N", help="purchases")
    parser.add_argument("--ablate", action="store_true", help="also what each idea of the feature service adds")
    options = parser.parse_args()
    settings, console = read_settings(Settings), Console(stderr=True)
    plan = service()
    arms = arms_of(plan.service, plan.names) if options.ablate else []
    worlds: dict[int, Held] = {}
    with progress_bar(console) as bar:
        task = bar.add_task("worlds", total=len(options.seeds))
        for seed in bar.track(options.seeds, task_id=task):
            worlds[seed] = of_world(seed, options.per_day, arms, settings, bar)
    tables = [holdout({seed: of.judged for seed, of in worlds.items()}), by_attack(of.caught for of in worlds.values())]
    if arms:
        reached = zip(*(of.reached for of in worlds.values()), strict=True)
        tables.append(ablation([(arm, measures_of(of)) for arm, of in zip(arms, reached, strict=True)], RANKING))
    for text in tables:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
