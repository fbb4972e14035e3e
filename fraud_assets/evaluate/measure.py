"""A metric over folds, and the table of what each idea added to it."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fraud_assets.evaluate.ideas import Arm


@dataclass(frozen=True)
class Measure:
    """One metric on each fold, with their mean and (n - 1) standard deviation, null for one fold."""

    folds: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.mean(self.folds)

    @property
    def sd(self) -> float | None:
        return statistics.stdev(self.folds) if len(self.folds) > 1 else None

    def as_json(self) -> dict[str, object]:
        return {"mean": self.mean, "sd": self.sd, "folds": list(self.folds)}

    def less(self, other: "Measure") -> "Measure":
        """Fold by fold: a hard week is hard for both, and no difference between them."""
        return Measure(tuple(one - two for one, two in zip(self.folds, other.folds, strict=True)))

    def text(self, sign: str = "", digits: int = 3) -> str:
        """Mean ± sd. sign: `+` for a difference."""
        return f"{self.mean:{sign}.{digits}f}" + ("" if self.sd is None else f" ± {self.sd:.{digits}f}")


Measures = Mapping[str, Measure]


def measures_of(folds: Sequence[Mapping[str, float]]) -> Measures:
    """Of each metric what the folds reached."""
    return {name: Measure(tuple(fold[name] for fold in folds)) for name in folds[0]}


def ablation(measured: Sequence[tuple[Arm, Measures]], metrics: Sequence[str]) -> str:
    """Markdown, a line an idea: what was reached with it and those above, and by how much the whole is worse (−) without it alone.

    measured: of `arms_of`, in its order.
    """
    reached = {arm.idea: (len(arm.columns), found) for arm, found in measured if not arm.without}
    missing = {arm.idea: found for arm, found in measured if arm.without}
    *_, (_, whole) = reached.values()
    head = ["Ideas so far", "features", *metrics, *(f"{name} without it" for name in metrics)]
    lines = []
    for idea, (count, found) in reached.items():
        differences = [missing[idea][name].less(whole[name]).text("+") for name in metrics]
        lines.append([idea, str(count), *(found[name].text() for name in metrics), *differences])
    return markdown(head, lines)


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))
