"""The nightly report on the chains of decisions: what was done to the lake fails its check, which names it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import msgspec
import pytest

from fraud_assets.contracts import codec
from fraud_assets.contracts.chain import Head, digest, seal
from fraud_assets.contracts.events import Decision
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.defs.monitoring.chains import KEY, NAMED, decision_chain_report
from fraud_assets.defs.resources import resources_of
from fraud_assets.monitoring.chains import GRACE_MS
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.contracts.test_chain import chain, decision

ARRIVED_MS = 1_790_000_000_000


class Night(NamedTuple):
    """What the run said of the asset, and its check."""

    metadata: Mapping[str, Any]
    check: dg.AssetCheckEvaluation

    @property
    def found(self) -> list[tuple[object, ...]]:
        """(fault, chain, first, last) of each finding that the check names."""
        rows = rows_of(self.check.metadata, "found")
        return [(row["fault"], row["chain"], row["first"], row["last"]) for row in rows]


def rows_of(metadata: Mapping[str, Any], table: str) -> list[Mapping[str, Any]]:
    return [record.data for record in metadata[table].records]


class Platform(NamedTuple):
    """A lake and a Dagster instance that lives through the nights."""

    lake: Lake
    instance: dg.DagsterInstance
    settings: Settings

    def night(self, decisions: Sequence[Decision], apart_ms: int = GRACE_MS + 1) -> Night:
        """Makes these all that the lake has, in this order of arrival, and the report on them."""
        at = [LogPosition(ARRIVED_MS + apart_ms * n, "decisions.v1", 0, n) for n in range(len(decisions))]
        self.lake.append("decisions", from_events(Decision, decisions, at), "part", rewrite=True)
        return self.report()

    def report(self) -> Night:
        result = dg.materialize([decision_chain_report], resources=resources_of(self.settings), instance=self.instance)
        assert result.success  # a check that fails blocks nothing
        (check,) = result.get_asset_check_evaluations()
        return Night(result.asset_materializations_for_node("decision_chain_report")[0].metadata, check)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    settings = Settings(var_dir=tmp_path)
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as instance:
        yield Platform(Lake(settings.lake_uri), instance, settings)


def linked(decisions: Iterable[Decision]) -> list[Decision]:
    """As a chain of the same name as `chain` makes."""
    head, made = Head("c"), []
    for one in decisions:
        raw, head = seal(one, head)
        made.append(codec.decode(Decision, raw, max_bytes=2**20))
    return made


def rewritten(count: int) -> list[Decision]:
    """A whole chain of other decisions, as one makes it who holds the code and the lake."""
    return linked(decision(number, fraud_score=0.0) for number in range(1, count + 1))


def test_a_whole_chain_passes_and_its_head_is_kept(platform: Platform) -> None:
    made = chain(5)

    night = platform.night([decision(99), *made])

    assert night.check.passed
    assert night.check.description == "Every chain is whole."
    assert night.metadata["heads"].value == [f"c:5:{made[-1].sha256}"]
    (listed,) = rows_of(night.metadata, "chains")
    assert (listed["chain"], listed["decisions"], listed["findings"]) == ("c", 5, 0)
    assert (night.metadata["dagster/row_count"].value, night.metadata["unchained"].value) == (6, 1)


def test_a_chain_that_goes_on_passes_each_night_against_all_heads_before(platform: Platform) -> None:
    made = chain(6)

    nights = [platform.night(made[:count]) for count in (2, 4, 4, 6)]

    assert [night.check.passed for night in nights] == [True] * 4
    assert [night.metadata["heads_kept"].value for night in nights] == [0, 1, 2, 3]


def test_a_chain_over_midnight_and_back_is_one(platform: Platform) -> None:
    """Days are of the payments, and those are not decided in the order in which they were made."""
    made = linked(decision(n, event_time_ms=ARRIVED_MS + DAY_MS * (n % 3)) for n in range(1, 7))

    night = platform.night(made)

    assert len(platform.lake.days("decisions")) == 3
    assert night.check.passed
    assert night.metadata["dagster/row_count"].value == 6


def test_a_night_reads_the_days_that_have_changed_and_the_oldest_of_the_others(platform: Platform) -> None:
    """And goes on from the last report that knows of days, until somebody wipes the asset."""
    made = linked(decision(n, event_time_ms=ARRIVED_MS + DAY_MS * (n % 3)) for n in range(1, 7))

    nights = [platform.night(made), platform.report()]
    platform.instance.report_runless_asset_event(dg.AssetMaterialization(KEY))
    nights.append(platform.report())
    platform.instance.wipe_assets([KEY])
    nights.append(platform.report())

    counted = ("days_read", "days_kept", "days_read_again", "dagster/row_count")
    assert [tuple(night.metadata[name].value for name in counted) for night in nights] == [
        (3, 0, 0, 6), (1, 2, 1, 6), (1, 2, 1, 6), (3, 0, 0, 6),
    ]  # fmt: skip
    assert all(night.check.passed for night in nights)


def forged(made: list[Decision]) -> Decision:
    """The second, altered together with its digest."""
    changed = msgspec.structs.replace(made[1], action="deny")
    return msgspec.structs.replace(changed, sha256=digest(changed))


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (lambda made: [made[0], msgspec.structs.replace(made[1], action="deny"), *made[2:]], ("altered", "c", 2, 2)),
        (lambda made: [made[0], forged(made), *made[2:]], ("replaced", "c", 2, 2)),
        (lambda made: [made[0], *made[3:]], ("dropped", "c", 2, 3)),
        (lambda made: [made[1], made[0], *made[2:]], ("reordered", "c", 2, 2)),
        (lambda made: [*made[:4], made[3], *made[4:]], ("forked", "c", 4, 4)),
    ],
    ids=["altered", "replaced", "dropped", "reordered", "forked"],
)  # fmt: skip
@pytest.mark.parametrize("nights_before", [0, 1])
def test_what_was_done_to_the_lake_fails_the_check_which_names_it(
    platform: Platform, tamper: Callable[[list[Decision]], list[Decision]], expected: tuple[object, ...], nights_before: int
) -> None:  # fmt: skip
    made = chain(6)
    for _ in range(nights_before):
        assert platform.night(made).check.passed

    night = platform.night(tamper(made))

    assert not night.check.passed
    assert night.check.severity is dg.AssetCheckSeverity.ERROR
    assert not night.check.blocking
    assert night.found == [expected]
    (listed,) = rows_of(night.check.metadata, "chains")
    assert listed["findings"] == 1


def test_a_chain_that_was_cut_before_a_kept_head_is_said_to_be(platform: Platform) -> None:
    """Without the head nothing shows: what is left is a whole chain."""
    made = chain(6)
    platform.night(made)

    night = platform.night(made[:4])

    assert night.found == [("cut", "c", 5, 6)]
    assert "ends before a head that was kept: chain c ends at 4 and had 6." in str(night.check.description)
    assert platform.night(made).check.passed


def test_a_chain_that_is_gone_altogether_is_missed(platform: Platform) -> None:
    platform.night(chain(3))

    night = platform.night([decision(99)])

    assert night.found == [("cut", "c", 1, 3)]
    assert night.metadata["heads"].value == []


def test_a_rewritten_chain_is_found_and_stays_found(platform: Platform) -> None:
    """The night that finds it keeps its head too; the older one stands."""
    platform.night(chain(4))

    nights = [platform.night(rewritten(count)) for count in (4, 5, 6)]

    assert [night.found for night in nights] == [[("replaced", "c", 4, 4)]] * 3


def test_what_was_known_the_night_before_is_not_new(platform: Platform) -> None:
    made = chain(8)
    gap = [*made[:1], *made[2:]]

    nights = [platform.night(gap), platform.night(gap), platform.night([*made[:1], *made[2:5], *made[6:]])]

    assert [night.metadata["findings"].value for night in nights] == [1, 1, 2]
    assert [night.metadata["new_findings"].value for night in nights] == [1, 0, 1]
    assert nights[-1].found == [("dropped", "c", 6, 6), ("dropped", "c", 2, 2)]


def test_findings_beyond_what_an_event_should_hold_are_counted(platform: Platform) -> None:
    made = [msgspec.structs.replace(one, latency_ms=9.0) for one in chain(NAMED + 5)]

    night = platform.night(made)

    assert night.metadata["findings"].value == NAMED + 5
    assert len(night.found) == NAMED


def test_a_gap_in_the_newest_minutes_may_still_come_and_is_found_by_the_next_night(platform: Platform) -> None:
    made = chain(5)
    gap = [*made[:3], made[4]]

    first = platform.night(gap, apart_ms=1_000)
    again = platform.night(gap, apart_ms=1_000)

    assert first.check.passed
    assert first.metadata["on_their_way"].value == 1
    assert again.found == [("dropped", "c", 4, 4)]


def test_a_gap_that_came_in_time_was_none(platform: Platform) -> None:
    made = chain(5)
    platform.night([*made[:3], made[4]], apart_ms=1_000)

    assert platform.night(made, apart_ms=1_000).check.passed


def test_a_record_that_a_head_was_kept_of_is_not_on_its_way(platform: Platform) -> None:
    made = chain(5)
    platform.night(made[:4], apart_ms=1_000)

    assert platform.night([*made[:3], made[4]], apart_ms=1_000).found == [("dropped", "c", 4, 4)]


def test_heads_that_were_wiped_are_asked_for_no_more(platform: Platform) -> None:
    """How somebody accepts a lake that was restored to an earlier day."""
    platform.night(chain(6))
    platform.instance.wipe_assets([KEY])

    night = platform.night(chain(4))

    assert night.check.passed
    assert night.metadata["heads_kept"].value == 0


def test_a_materialization_that_somebody_reported_by_hand_keeps_no_head(platform: Platform) -> None:
    platform.night(chain(6))
    platform.instance.report_runless_asset_event(dg.AssetMaterialization(KEY))

    assert platform.night(chain(4)).found == [("cut", "c", 5, 6)]


def test_no_decision_at_all_is_a_whole_lake(platform: Platform) -> None:
    night = platform.report()

    assert night.check.passed
    assert night.metadata["dagster/row_count"].value == 0
