"""What labels say of live scores, once they are in: is a score a probability, and what did the model find?

A partition is a day of decisions. Its labels are in `FRAUD_LABEL_DELAY_DAYS` after it ended, and an hour for the label stage; before that
a day says so and is not judged. Made again later it knows what has been said since.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.defs.metadata import bars, lines
from fraud_assets.defs.partitions import SETTINGS, daily, end_ms, fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import start_ms
from fraud_assets.training.matured import DAYS, MIN_FRAUDS, Payments, State, Week, matures_ms, week_until

if TYPE_CHECKING:  # brings scikit-learn, for which nobody who only loads the asset graph should wait
    from fraud_assets.training.live import Bound, Performance

CALIBRATED, PERFORMS = "calibrated_on_matured_labels", "performs_as_trained"
# Payments of a week, and what became known of them until the last one's label delay was over.
the_week = dg.TimeWindowPartitionMapping(start_offset=1 - DAYS, allow_nonexistent_upstream_partitions=True)
until_matured = dg.TimeWindowPartitionMapping(
    start_offset=1 - DAYS, end_offset=SETTINGS.label_delay_whole_days + 1, allow_nonexistent_upstream_partitions=True
)
DEPS = [
    *(dg.AssetDep(name, partition_mapping=the_week) for name in ("decisions", "transactions")),
    *(dg.AssetDep(name, partition_mapping=until_matured) for name in ("labels", "label_facts")),
]
# A day's report is one row.
COUNTED = ("payments", "labelled", "frauds", "payments_of_week", "labelled_of_week", "frauds_of_week")
COLUMNS = dg.TableSchema([dg.TableColumn("state", "string"), *(dg.TableColumn(name, "int") for name in COUNTED)])


def _week(day: str, lake: LakeResource, settings: Settings) -> Week:
    return week_until(lake.lake, settings, start_ms(day), end_ms(day), _now_ms())


@dg.asset(
    group_name="monitoring",
    kinds={"scikitlearn", "parquet"},
    owners=["team:fraud-ml"],
    deps=DEPS,
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            CALIBRATED,
            asset="calibration_report",
            description=(
                f"Over {DAYS} days of matured labels |mean score − share of fraud| of the payments that were let through is at most"
                f" {SETTINGS.max_calibration_gap:.0%} of the larger (FRAUD_MAX_CALIBRATION_GAP), and chance. An error over twice that."
            ),
        )
    ],
)
def calibration_report(
    context: dg.AssetExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]
) -> Result:
    """Mean score against the share of fraud, of the day and of the week that it ends, once their labels are in."""
    from fraud_assets.training.live import calibrated_of

    day = context.partition_key
    week = _week(day, lake, settings)
    found = calibrated_of(week.found, settings.max_calibration_gap)
    numbers = {**vars(found), "gap": found.gap.value} if found else {}
    return dg.MaterializeResult(
        metadata={**_told(week, settings, day), **_shown(numbers), **_calibration_by_day(week.found)},
        check_results=[_judged(CALIBRATED, week, [found.gap if found else None], numbers)],
    )


@dg.asset(
    group_name="monitoring",
    kinds={"scikitlearn", "parquet"},
    owners=["team:fraud-ml"],
    deps=DEPS,
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            PERFORMS,
            asset="performance_report",
            description=(
                f"Over {DAYS} days of matured labels with {MIN_FRAUDS} frauds or more it finds at most {SETTINGS.max_recall_loss:.0%}"
                " (FRAUD_MAX_RECALL_LOSS), and chance, less of the fraud than its training measured, and refuses at most 2 % of good"
                " customers. An error over twice that."
            ),
        )
    ],
)
def performance_report(
    context: dg.AssetExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]
) -> Result:
    """Precision, recall, F1, average precision and cost of the day and of the week that it ends, once their labels are in."""
    from fraud_assets.training.live import good_refused, performance_of, recall_lost
    from fraud_assets.training.threshold import costs_of

    day = context.partition_key
    week = _week(day, lake, settings)
    numbers: dict[str, Any] = {}
    bounds: list[Bound | None] = []
    if week.manifest is not None and len(week.found):
        thresholds, expected = week.manifest.thresholds, week.manifest.metrics.get("recall")
        found = performance_of(week.found, thresholds, costs_of(settings))
        bounds = [recall_lost(found, expected, settings.max_recall_loss), good_refused(found)]
        of_day = performance_of(week.last, thresholds, costs_of(settings))
        numbers = {**vars(found), "expected_recall": expected, "deny": thresholds.deny, **_of_day(of_day)}
    return dg.MaterializeResult(
        metadata={**_told(week, settings, day), **_shown(numbers), **_performance_by_day(week, settings)},
        check_results=[_judged(PERFORMS, week, bounds, numbers)],
    )


def _of_day(found: "Performance") -> dict[str, Any]:
    return {
        f"{name}_of_day": getattr(found, name)
        for name in ("recall", "precision", "f1", "average_precision", "cost_minor")
    }


def _told(week: Week, settings: Settings, day: str) -> dict[str, Any]:
    """What both reports begin with. Figures without `_of_day` are of the week."""
    counts = (week.last, week.found)
    numbers = [n for one in counts for n in (len(one), len(one.spoken_of), int(one.spoken_of.is_fraud.sum()))]
    found = dict(zip(COUNTED, numbers, strict=True))
    return {
        "state": str(week.state),
        "model_version": week.manifest.model_version if week.manifest else "",
        "dagster/row_count": len(week.last),
        **found,
        "label_delay_days": settings.label_delay_days,
        "labels_in_at": dg.MetadataValue.timestamp(matures_ms(end_ms(day), settings.label_delay_days) / 1000),
        "dagster/column_schema": COLUMNS,
        "counted": bars(found, f"payments of {day} and of its week"),
    }


def _shown(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing that is null: metadata holds none, and a share of nothing is not 0."""
    return {name: round(value, 6) for name, value in numbers.items() if value is not None and name not in COUNTED}


def _judged(
    check: str, week: Week, bounds: "Sequence[Bound | None]", numbers: Mapping[str, Any]
) -> dg.AssetCheckResult:
    """A day that cannot be judged passes, and says why it was not."""
    from fraud_assets.training.live import judged

    passed, severe = judged(week.state, list(bounds))
    return dg.AssetCheckResult(
        check_name=check,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=_not_judged(week, bounds),
        metadata={"state": str(week.state), **_shown(numbers)},
    )


def _not_judged(week: Week, bounds: "Sequence[Bound | None]") -> str | None:
    """Why, in words; None where a bound was asked."""
    if week.state is not State.JUDGED:
        return f"not judged: {week.state}"
    return None if any(bounds) else "not judged: too few frauds, or one day alone"


def _calibration_by_day(found: Payments) -> dict[str, Any]:
    known = found.let_through.spoken_of
    series: dict[str, Callable[[Payments], float]] = {
        "mean score": lambda one: float(one.score.mean()),
        "share of fraud": lambda one: float(one.is_fraud.mean()),
    }
    return _by_day(known, series, "payments that were let through, by day")


def _performance_by_day(week: Week, settings: Settings) -> dict[str, Any]:
    if week.manifest is None:
        return {}
    from fraud_assets.training.live import performance_of
    from fraud_assets.training.threshold import costs_of

    thresholds, costs = week.manifest.thresholds, costs_of(settings)

    def figure(name: str) -> Callable[[Payments], float]:
        return lambda one: getattr(performance_of(one, thresholds, costs), name) or 0.0

    series = {name: figure(name) for name in ("recall", "precision", "f1")}
    # A day without a known fraud has no recall, and would be drawn as one on which nothing was found.
    return _by_day(week.found, series, "of known payments, by day", lambda one: bool(one.spoken_of.is_fraud.any()))


def _by_day(
    found: Payments,
    series: Mapping[str, Callable[[Payments], float]],
    title: str,
    has: Callable[[Payments], bool] = lambda _: True,
) -> dict[str, Any]:
    from fraud_assets.training.live import by_day

    days = [(midnight, one) for midnight, one in by_day(found) if has(one)]
    if not days:
        return {}
    before = [(midnight - days[-1][0]) // DAY_MS for midnight, _ in days]
    drawn = {name: (before, [of(one) for _, one in days]) for name, of in series.items()}
    return {"by_day": lines(drawn, f"{title}; 0 is the last")}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
