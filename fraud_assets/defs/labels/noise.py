"""How far can labels be trusted? A report, and a check that warns."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from fraud_assets.defs.labels.as_of import GROUP, OWNER, lookback
from fraud_assets.defs.metadata import bars
from fraud_assets.defs.partitions import daily, fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import start_ms

if TYPE_CHECKING:
    from fraud_assets.labels.noise import Noise

CHECK = "label_noise_within_bounds"


def _record(name: str, value: float, of: int, at_most: float | None, *, is_within: bool) -> dg.TableRecord:
    return dg.TableRecord(
        {"measure": name, "value": float(f"{value:.5g}"), "of": of, "at_most": at_most, "within": is_within}
    )


# A day's report is a row for each measure.
COLUMNS = dg.MetadataValue.table([_record("", 0.5, 1, 0.5, is_within=True)]).schema


@dg.asset(
    group_name=GROUP,
    kinds={"polars", "scikitlearn"},
    owners=[OWNER],
    deps=[dg.AssetDep(name, partition_mapping=lookback) for name in ("transactions", "labels", "label_facts")],
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset="label_noise",
            description="Sources agree, verdicts stay, frauds come in time, and labels are of payments that we know, within the "
            "bounds of the table `measures`; `out_of_bounds` names what is not (docs/labels.md says what to do).",
        )
    ],
)
def label_noise(context: dg.AssetExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]) -> Result:
    """Contradictions between sources, verdicts that turned, frauds known too late, labels of nothing, as of a day."""
    # Here, for scikit-learn takes a second that no other command should wait for.
    from fraud_assets.labels.noise import noise_as_of

    day = start_ms(context.partition_key)
    found = noise_as_of(lake.lake, day, settings.graph_lookback_days, settings.label_delay_whole_days)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found.measures),
            "labels": found.labels,
            **_measured(found),
            "dagster/column_schema": COLUMNS,
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=CHECK,
                passed=not found.out_of_bounds,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"out_of_bounds": dg.MetadataValue.json(found.out_of_bounds)},
            )
        ],
    )


def _measured(found: "Noise") -> dict[str, Any]:
    rows = [_record(one.name, one.value, one.of, one.at_most, is_within=one.is_within) for one in found.measures]
    shares = {one.name: one.value for one in found.measures if one.at_most}
    return {
        **{one.name: float(f"{one.value:.5g}") for one in found.measures},
        "measures": dg.MetadataValue.table(rows, COLUMNS),
        "pairs": dg.MetadataValue.table([dg.TableRecord(vars(pair)) for pair in found.pairs]),
        "shares": bars(shares, "shares, of which each has a bound"),
    }
