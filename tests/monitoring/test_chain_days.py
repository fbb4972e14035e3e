"""A night reads the days that have changed, and finds what `verify` finds of all links of the lake."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.contracts.chain import Finding, Head, digest, verify
from fraud_assets.contracts.events import Decision
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.monitoring.chain_days import Night
from fraud_assets.monitoring.chains import chain_report
from fraud_assets.stores.chain_days import FORMAT, ChainDays, Index, KeptDay
from fraud_assets.stores.compaction import compact
from fraud_assets.stores.decision_chains import read_chains
from fraud_assets.stores.lake import Lake, append_name
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.contracts.test_chain import decision
from tests.defs.test_decision_chains import ARRIVED_MS, linked

TABLE = "decisions"
NEVER = 10**9  # nights: still one day each night
DAYS = ["2026-09-21", "2026-09-22", "2026-09-23", "2026-09-24"]


def over_days(count: int, days: Iterable[int]) -> list[Decision]:
    """A chain whose links are of these days in turn."""
    of = list(days)
    return linked(decision(n, event_time_ms=ARRIVED_MS + DAY_MS * of[n % len(of)]) for n in range(1, count + 1))


def write(lake: Lake, made: Iterable[Decision], name: str, first_offset: int = 0, partition: int = 0) -> None:
    rows = list(made)
    at = [
        LogPosition(ARRIVED_MS + n, "decisions.v1", partition, n) for n in range(first_offset, first_offset + len(rows))
    ]
    lake.append(TABLE, from_events(Decision, rows, at), name, rewrite=True)


def night(
    lake: Lake, folded: str, heads: Mapping[int, str] | None = None, nights: int = NEVER
) -> tuple[Night, list[Finding], str]:
    made = Night(lake, {"c": heads} if heads else {}, folded, nights)
    found = [finding for joined in made.join().values() for finding in joined.findings]
    return made, found, made.keep()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def faults(found: Iterable[Finding]) -> list[tuple[str, int, int]]:
    return [(str(one.fault), one.position, one.last) for one in found]


def test_a_night_reads_the_days_that_have_changed_and_one_in_its_turn(lake: Lake) -> None:
    made = over_days(12, range(4))
    write(lake, made, "first")
    first, nothing, folded = night(lake, "")
    write(lake, over_days(14, range(4))[12:], "second", 100)

    second, nothing_either, _ = night(lake, folded)

    assert (first.read, nothing, nothing_either) == (set(DAYS), [], [])
    assert lake.days(TABLE) == DAYS
    assert second.read == {DAYS[0], DAYS[1], DAYS[2]}  # the thirteenth and the fourteenth, and the turn of the first


def test_a_decision_that_comes_late_into_an_old_day_closes_its_gap(lake: Lake) -> None:
    made = over_days(8, range(4))
    write(lake, [*made[:2], *made[3:]], "first")
    _, found, folded = night(lake, "")
    write(lake, made[2:3], "late", 100, partition=1)

    second, nothing, _ = night(lake, folded)

    assert (faults(found), nothing) == ([("dropped", 3, 3)], [])
    assert len(second.read) == 2


def test_what_was_found_stays_found_without_reading_its_day_again(lake: Lake) -> None:
    """Also what must be looked into: a fork, and a reordered record, over two days."""
    made = over_days(12, [0, 0, 0, 1, 1, 1])
    other = msgspec.structs.replace(made[4], decision_id="other", event_time_ms=ARRIVED_MS + 3 * DAY_MS)
    write(lake, [*made[:3], made[8], *made[3:8], *made[9:], other], "first")
    first, found, folded = night(lake, "")
    chains, _ = read_chains(lake)

    again, found_again, folded_again = night(lake, folded)
    third, _, _ = night(lake, folded_again)

    assert found == verify("c", chains["c"])[0]
    assert {str(one.fault) for one in found} == {"altered", "forked", "reordered"}
    assert found_again == found
    assert len(first.read) == 3
    # The one whose turn it is, which is folded afresh; and what is then looked into of the others is known.
    assert (again.read, third.read) == ({DAYS[0]}, {DAYS[1]})


def altered(made: list[Decision]) -> list[Decision]:
    return [made[0], msgspec.structs.replace(made[1], fraud_score=0.75), *made[2:]]


def rewritten(made: list[Decision]) -> list[Decision]:
    """The second and its digest."""
    changed = msgspec.structs.replace(made[1], fraud_score=0.75)
    return [made[0], msgspec.structs.replace(changed, sha256=digest(changed)), *made[2:]]


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (altered, ("altered", 2, 2)),
        (rewritten, ("replaced", 2, 2)),
        (lambda made: [made[0], *made[2:]], ("dropped", 2, 2)),
        (lambda made: made[:3], ("dropped", 4, 4)),
        (lambda made: [], ("dropped", 1, 4)),
    ],
    ids=["altered", "rewritten", "dropped", "its end dropped", "its file dropped"],
)  # fmt: skip
def test_an_old_day_that_is_rewritten_is_read_again(
    lake: Lake, tamper: Callable[[list[Decision]], list[Decision]], expected: tuple[str, int, int]
) -> None:
    made = linked(decision(n, event_time_ms=ARRIVED_MS + DAY_MS * (n > 4)) for n in range(1, 13))
    old, newer = made[:4], made[4:]
    write(lake, newer, "newer", 100)
    write(lake, old, "old")
    _, nothing, folded = night(lake, "")
    _, _, folded = night(lake, folded)  # the turn of the first day is over

    write(lake, tamper(old), "old")  # of no rows no file is left
    _, found, _ = night(lake, folded)

    assert (nothing, faults(found)) == ([], [expected])


def file_of(lake: Lake, name: str, day: str = DAYS[0]) -> Path:
    return Path(lake.uri) / TABLE / f"event_date={day}" / f"{name}.parquet"


def padded(path: Path, size: int) -> None:
    """The same rows in a file of that size: nothing points to what stands before the footer."""
    raw = path.read_bytes()
    footer = int.from_bytes(raw[-8:-4], "little") + 8
    path.write_bytes(raw[:-footer] + bytes(size - len(raw)) + raw[-footer:])


def test_who_alters_a_file_that_looks_as_it_did_is_found_when_the_turn_is_its_days(tmp_path: Path, lake: Lake) -> None:
    """Four days, each read again within four nights; the altered one has just had its turn."""
    made = over_days(8, range(4))
    write(lake, made, "first")
    path = file_of(lake, "first")
    padded(path, size := path.stat().st_size + 4096)
    _, _, folded = night(lake, "", nights=4)
    _, _, folded = night(lake, folded, nights=4)
    before = path.stat()

    aside = Lake(tmp_path / "aside")
    write(
        aside,
        [msgspec.structs.replace(one, fraud_score=0.75) if one.chain_position == 4 else one for one in made],
        "first",
    )
    path.write_bytes(file_of(aside, "first").read_bytes())
    padded(path, size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    read, found_by = [], []
    for _ in range(4):
        one, found, folded = night(lake, folded, nights=4)
        read.append(one.read)
        found_by.append(faults(found))
    assert read == [{DAYS[1]}, {DAYS[2]}, {DAYS[3]}, {DAYS[0]}]
    assert found_by == [[], [], [], [("altered", 4, 4)]]


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(b"PAR1")], ids=["gone", "no file any more"]
)
def test_who_harms_what_was_folded_has_the_days_read_again(
    tmp_path: Path, lake: Lake, harm: Callable[[Path], object]
) -> None:
    write(lake, altered(over_days(8, range(4))), "first")
    _, found, folded = night(lake, "")

    for path in (tmp_path / "_chains").iterdir():
        harm(path)
    again, found_again, _ = night(lake, folded)

    assert (again.read, found_again) == (set(DAYS), found)
    assert faults(found) == [("altered", 2, 2)]


@pytest.mark.parametrize("what", ["fold", "index"])
def test_who_puts_the_fold_of_a_whole_day_in_the_place_of_anothers_is_not_believed(tmp_path: Path, what: str) -> None:
    """The name in the event log is a digest: neither the fold nor the index behind it can be another."""
    made, lake, whole = over_days(8, range(4)), Lake(tmp_path / "lake"), Lake(tmp_path / "whole")
    write(
        lake,
        [msgspec.structs.replace(one, fraud_score=0.75) if one.chain_position == 1 else one for one in made],
        "first",
    )
    write(whole, made, "first")
    (_, found, folded), (_, _, clean) = night(lake, ""), night(whole, "")
    ours, theirs = (ChainDays(of.uri).index(name).days[DAYS[1]] for of, name in ((lake, folded), (whole, clean)))
    place = Path(lake.uri) / "_chains"

    if what == "fold":
        shutil.copy(Path(whole.uri) / "_chains" / f"{theirs.fold}.parquet", place / f"{ours.fold}.parquet")
    else:
        shutil.copytree(Path(whole.uri) / "_chains", place, dirs_exist_ok=True)
        days = ChainDays(lake.uri).index(folded).days
        forged = ChainDays(lake.uri).put(Index(FORMAT, 1, days | {DAYS[1]: KeptDay(ours.files, theirs.fold, 1)}))
        (place / f"{forged}.parquet").rename(place / f"{folded}.parquet")
    again, found_again, _ = night(lake, folded)

    assert faults(found) == [("altered", 1, 1)]
    assert found_again == found
    assert again.read == ({DAYS[0], DAYS[1]} if what == "fold" else set(DAYS))


def test_a_night_whose_end_was_lost_does_not_lose_the_one_before(lake: Lake) -> None:
    write(lake, over_days(8, range(4)), "first")
    _, _, folded = night(lake, "")
    write(lake, over_days(16, range(4))[8:], "second", 100)
    night(lake, folded)  # what it kept is told to nobody

    for day in DAYS:
        file_of(lake, "second", day).unlink()
    again, _, _ = night(lake, folded)

    assert again.read == {DAYS[0]}  # whose turn it is


def test_what_no_night_needs_is_dropped(tmp_path: Path, lake: Lake) -> None:
    folded = ""
    for count in range(1, 8):
        write(lake, over_days(count, [0]), "first")
        _, _, folded = night(lake, folded)

    assert len(list((tmp_path / "_chains").iterdir())) == 4  # index and fold, of this night and of the one before


def test_a_compacted_day_is_read_again_and_says_the_same(lake: Lake) -> None:
    made = over_days(12, [0])
    for first in range(0, 12, 3):
        write(lake, made[first : first + 3], append_name("decisions.v1", 0, first, "w"), first)
    _, nothing, folded = night(lake, "")

    assert compact(lake, TABLE, DAYS[0]).merged == 3
    again, nothing_either, _ = night(lake, folded)

    assert (again.read, nothing, nothing_either) == ({DAYS[0]}, [], [])


def test_a_head_in_the_midst_of_a_day_that_was_read_before_is_looked_up(lake: Lake) -> None:
    """As of a run that was told of no head: the day is read for it once."""
    made = over_days(6, [0])
    write(lake, made, "first")
    _, _, folded = night(lake, "")

    one, found, _ = night(lake, folded, {3: made[2].sha256, 4: "0" * 64})

    assert faults(found) == [("replaced", 4, 4)]
    assert one.read == {DAYS[0]}


def test_the_report_goes_on_from_the_one_before(lake: Lake) -> None:
    write(lake, over_days(8, range(4)), "first")
    first = chain_report(lake, [])

    second = chain_report(lake, first.heads, first.folded)

    assert (first.days.read, first.days.kept, first.days.again) == (4, 0, 0)
    assert (second.days.read, second.days.kept, second.days.again) == (1, 3, 1)
    assert second.chains[0].decisions == first.chains[0].decisions == 8


tampering = st.sampled_from(["nothing", "alter", "rewrite", "drop", "move", "fork", "cut", "late"])


def tampered(data: st.DataObject, made: list[Decision]) -> list[Decision]:
    if not made:
        return made
    at = data.draw(st.integers(0, len(made) - 1))
    match data.draw(tampering):
        case "alter":
            made[at] = msgspec.structs.replace(made[at], latency_ms=9.0)
        case "rewrite":
            changed = msgspec.structs.replace(made[at], latency_ms=9.0)
            made[at] = msgspec.structs.replace(changed, sha256=digest(changed))
        case "drop":
            del made[at]
        case "move":
            made.insert(data.draw(st.integers(0, len(made) - 1)), made.pop(at))
        case "fork":
            other = msgspec.structs.replace(made[at], decision_id="other", event_time_ms=ARRIVED_MS + DAY_MS)
            made.insert(data.draw(st.integers(0, len(made))), other)
        case "cut":
            del made[at:]
    return made


@settings(max_examples=40)
@given(st.data())
def test_nights_find_what_verify_finds_of_the_whole_lake(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Of a chain that grows, over days in any order and several partitions, while somebody tampers with it."""
    lake, heads, folded = Lake(tmp_path_factory.mktemp("lake")), dict[int, str](), ""
    days = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6))
    made, held, count = over_days(12, days), list[Decision](), 0
    for _ in range(3):
        more = data.draw(st.integers(0, 12 - count))
        held, count = [*held, *made[count : count + more]], count + more
        held = tampered(data, held)
        for partition in range(2):
            of = [one for one in held if one.chain_position % 2 == partition]
            write(lake, of, f"p{partition}", 1000 * partition, partition)

        _, found, folded = night(lake, folded, heads)

        chains, _ = read_chains(lake)
        findings, head = verify("c", chains.get("c", []), heads)
        assert found == findings
        if head.position:
            heads.setdefault(head.position, Head(*head).sha256)
