"""Is every decision of the lake there, in its place, and as it was made? Asked each night, of all of them.

What a run found is verified against the heads that the runs before it found. Dagster's event log keeps those, and
who may write the lake need not be able to write that. It keeps the digest of what was folded of each day, too: a night
reads the days that have changed, and some of the others in turn (`monitoring/chain_days.py`).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from fraud_assets.contracts.chain import Fault, Finding, Head
from fraud_assets.defs.metadata import bars
from fraud_assets.defs.partitions import fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.monitoring.chains import Chain, ChainReport, chain_report
from fraud_assets.settings import Settings

CHECK = "decision_chain_is_whole"
# Findings that a run names, new ones first, and chains that it lists, those with findings first. A million altered
# records are one story, and its event is kept for ever.
NAMED = 200
DRAWN = 20  # chains, the longest
PAGE = 500  # materializations asked for at once
KEY = dg.AssetKey("decision_chain_report")


def _record(chain: Chain) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "chain": chain.head.chain_id,
            "decisions": chain.decisions,
            "findings": len(chain.findings),
            "on_their_way": chain.on_their_way,
            "head": chain.head.position,
            "head_kept": chain.kept,
            "sha256": chain.head.sha256,
        }
    )


def _named(finding: Finding, *, is_new: bool) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "fault": str(finding.fault),
            "chain": finding.chain_id,
            "first": finding.position,
            "last": finding.last,
            "decision_id": finding.decision_id,
            "new": is_new,
        }
    )


# Rows of the table `chains`, and of `findings`; where there are none, there is none to take the columns from.
COLUMNS = dg.MetadataValue.table([_record(Chain(Head(""), 0, [], 0, 0))]).schema
FINDINGS = dg.MetadataValue.table([_named(Finding(Fault.CUT, "", 0, 0), is_new=True)]).schema


@dg.asset(
    group_name="monitoring",
    kinds={"parquet"},
    owners=["team:fraud-platform"],
    # Not by day: a chain goes on over midnight, and whoever rewrites last month is found tonight.
    deps=[dg.AssetDep("decisions", partition_mapping=dg.AllPartitionMapping())],
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset=KEY,
            description="No decision was altered, replaced, dropped, moved or doubled, and no chain ends before a head that was kept.",
        )
    ],
)
def decision_chain_report(
    context: dg.AssetExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]
) -> Result:
    """Every chain of decisions in the lake, and its head, against the heads that the runs before found."""
    before = list(_runs_before(context.instance))
    kept = [head for metadata in before for head in _heads_in(metadata)]
    found = chain_report(lake.lake, kept, _folded_in(before), settings.chain_reread_nights)
    known = _findings_in(before[-1]) if before else set()
    measured = _measured(found, known)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.decisions,
            "unchained": found.unchained,
            "heads_kept": len(kept),
            "days_read": found.days.read,
            "days_kept": found.days.kept,
            "days_read_again": found.days.again,
            **measured,
            "folded": found.folded,
            "heads": dg.MetadataValue.json([str(head) for head in found.heads]),
            "dagster/column_schema": COLUMNS,
            "longest_chains": _drawn(found),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=CHECK,
                passed=not found.findings,
                description=_said(found, new=measured["new_findings"]),
                metadata=measured,
            )
        ],
    )


def _drawn(found: ChainReport) -> dg.MarkdownMetadataValue:
    longest = sorted(found.chains, key=lambda chain: -chain.decisions)[:DRAWN]
    return bars({chain.head.chain_id: chain.decisions for chain in longest}, "decisions of each chain")


def _measured(found: ChainReport, known: set[tuple[Any, ...]]) -> dict[str, Any]:
    """Counts and tables. known: what the run before has named; what it had no room for counts as new again."""
    named = [_named(finding, is_new=_identity(finding) not in known) for finding in found.findings]
    named.sort(key=lambda record: not record.data["new"])
    chains = sorted(found.chains, key=lambda chain: not chain.findings)
    return {
        "findings": len(named),
        "new_findings": sum(bool(record.data["new"]) for record in named),
        "on_their_way": sum(chain.on_their_way for chain in found.chains),
        "chains": dg.MetadataValue.table([_record(chain) for chain in chains[:NAMED]], COLUMNS),
        "found": dg.MetadataValue.table(named[:NAMED], FINDINGS),
    }


def _said(found: ChainReport, *, new: int) -> str:
    """The check in one line; a chain that ends too early by its name, for nothing else in the lake shows that."""
    if not found.findings:
        return "Every chain is whole."
    cut = [
        f" The lake ends before a head that was kept: chain {one.chain_id} ends at {one.position - 1} and had {one.last}."
        for one in found.findings
        if one.fault is Fault.CUT
    ]
    return f"{len(found.findings):,} findings, {new:,} of them new.{''.join(cut[:NAMED])}"


def _identity(finding: Finding) -> tuple[Any, ...]:
    return str(finding.fault), finding.chain_id, finding.position, finding.last


def _runs_before(instance: dg.DagsterInstance) -> Iterator[Mapping[str, dg.MetadataValue[Any]]]:
    """Metadata of all materializations, the oldest first.

    All, not the newest: a run that found a chain rewritten has that chain's head, too.
    """
    cursor = None
    while True:
        page = instance.fetch_materializations(KEY, limit=PAGE, cursor=cursor, ascending=True)
        for record in page.records:
            if record.asset_materialization is not None:
                yield record.asset_materialization.metadata
        if not page.has_more:
            return
        cursor = page.cursor


def _heads_in(metadata: Mapping[str, Any]) -> Iterable[Head]:
    """None of a materialization that somebody reported by hand."""
    return [Head.parse(text) for text in metadata["heads"].value] if "heads" in metadata else []


def _folded_in(before: Iterable[Mapping[str, Any]]) -> str:
    """What the newest of them left of the days that it knew."""
    names = [str(metadata["folded"].value) for metadata in before if "folded" in metadata]
    return names[-1] if names else ""


def _findings_in(metadata: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    rows = [record.data for record in metadata["found"].records] if "found" in metadata else []
    return {(row["fault"], row["chain"], row["first"], row["last"]) for row in rows}
