"""How long do frauds take to become known? A curve, and a check that the label delay waits for most of them."""

from typing import Any

import dagster as dg

from fraud_assets.defs.labels.as_of import GROUP, OWNER, lookback
from fraud_assets.defs.metadata import column_schema, lines
from fraud_assets.defs.partitions import daily, fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.labels.maturity import ANY, MIN_COVERED, SCHEMA, SHARES, TABLE, Curve, Maturity, maturity_as_of
from fraud_assets.settings import Settings
from fraud_assets.stores.keyed_tables import of_day, put_table
from fraud_assets.stores.lake import start_ms

CHECK = "label_delay_covers_frauds"


def _record(source: str, curve: Curve, delay_days: int) -> dg.TableRecord:
    known = curve.known_after(delay_days)
    return dg.TableRecord(
        {
            "source": source,
            "frauds": curve.frauds,
            **{f"days_until_{share:.0%}": curve.days_until(share) for share in SHARES},
            "known_after_label_delay": None if known is None else round(known, 4),
            "told_of_days": max(len(curve.share) - 1, 0),
        }
    )


@dg.asset(
    group_name=GROUP,
    kinds={"polars", "parquet"},
    owners=[OWNER],
    deps=[dg.AssetDep(name, partition_mapping=lookback) for name in ("transactions", "labels")],
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": column_schema(SCHEMA)},
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset=TABLE,
            description=f"{MIN_COVERED:.0%} of the frauds are known when their label delay ends. If not, raise "
            "FRAUD_LABEL_DELAY_DAYS to `enough_days`, materialize label_facts again, and train: until then a training set "
            "teaches the others as legitimate.",
        )
    ],
)
def label_maturity(
    context: dg.AssetExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]
) -> Result:
    """What share of the frauds is known so many days after their payment, by source, as known when the as-of day began."""
    day = context.partition_key
    found = maturity_as_of(lake.lake, start_ms(day), settings.label_delay_whole_days)
    rows = found.table()
    path = put_table(lake.labels_uri, TABLE, of_day(day), rows)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows.num_rows,
            "path": dg.MetadataValue.path(path),
            **_measured(found),
            "dagster/column_schema": column_schema(SCHEMA),
            "curve": lines(
                {name: (range(len(one.share)), one.share.tolist()) for name, one in found.curves.items()},
                "share of frauds known, by days since the payment",
            ),
        },
        check_results=[_judged(found)],
    )


def _measured(found: Maturity) -> dict[str, Any]:
    whole = found.curves[ANY]
    days = {f"days_until_{share:.0%}": whole.days_until(share) for share in SHARES}
    by_source = [_record(name, curve, found.delay_days) for name, curve in found.curves.items()]
    return {
        "frauds": whole.frauds,
        **{name.replace("%", "_percent"): value for name, value in days.items() if value is not None},
        "by_source": dg.MetadataValue.table(by_source),
    }


def _judged(found: Maturity) -> dg.AssetCheckResult:
    """A warning: what is late is late, and a training set that waits longer is an older one."""
    enough = found.curves[ANY].days_until(MIN_COVERED)
    measured: dict[str, Any] = {
        "label_delay_days": found.delay_days,
        "at_least": MIN_COVERED,
        "judged": found.covered is not None,
    }
    if found.covered is not None and enough is not None:
        measured |= {"covered": round(found.covered, 4), "enough_days": enough}
    return dg.AssetCheckResult(
        check_name=CHECK, passed=found.is_covered, severity=dg.AssetCheckSeverity.WARN, metadata=measured
    )
