"""The journal: in order, once, over restarts, within its bound, and with a torn end kept aside."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api import journal as journal_module
from api.journal import Entry, Journal
from api.records import Record
from fraud_assets.contracts import codec
from fraud_assets.contracts.chain import canonical
from fraud_assets.contracts.events import Decision
from tests.contracts.test_chain import decision, found

MIB = 2**20


def opened(folder: Path, max_bytes: int = MIB) -> Journal:
    return Journal.claim(folder, max_bytes)


def record(number: int) -> Record:
    return Record(canonical(decision(number)), f"d{number}", "a1", [("traceparent", b"x")])


def added(journal: Journal, first: int, last: int) -> None:
    for number in range(first, last + 1):
        assert journal.append([record(number)]) == 0


def taken(journal: Journal) -> list[Entry]:
    return list(iter(journal.next, None))


def positions(entries: list[Entry]) -> list[int]:
    return [entry.position for entry in entries]


def events(entries: list[Entry]) -> list[Decision]:
    return [codec.decode(Decision, entry.value, max_bytes=MIB) for entry in entries]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three events a file."""
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 3_000)


def test_events_come_out_as_they_went_in_linked_and_once(tmp_path: Path) -> None:
    journal = opened(tmp_path)

    added(journal, 1, 4)
    first = taken(journal)
    added(journal, 5, 9)
    second = taken(journal)

    assert positions(first + second) == list(range(1, 10))
    assert [one.decision_id for one in events(first + second)] == [f"d{n}" for n in range(1, 10)]
    assert first[0].key == b"a1" and first[0].headers == [("traceparent", b"x")]
    assert taken(journal) == []


def test_what_the_broker_has_is_deleted_but_for_the_newest_file(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    added(journal, 1, 12)
    entries = taken(journal)
    files = len(list(tmp_path.glob("0/*.log")))

    for entry in reversed(entries):  # reports of several partitions come in any order
        journal.done(entry.position)

    assert files >= 3 and len(list(tmp_path.glob("0/*.log"))) == 1
    assert len(journal) == 0


def test_the_next_process_goes_on_with_the_chain_and_sends_what_is_left(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    added(journal, 1, 6)
    entries = taken(journal)
    for entry in entries[:2]:
        journal.done(entry.position)
    journal.close()

    again = opened(tmp_path)
    added(again, 7, 8)
    left = taken(again)

    assert positions(left) == [3, 4, 5, 6, 7, 8] and len(again) == 6
    assert found(events(entries[:2] + left)) == []


def test_nothing_is_lost_by_a_process_that_is_killed(tmp_path: Path) -> None:
    """It neither closed nor marked anything; only the lock went with it."""
    journal = opened(tmp_path)
    added(journal, 1, 5)
    journal.done(1)
    journal._lock.close()

    assert positions(taken(opened(tmp_path))) == [1, 2, 3, 4, 5]


def test_a_torn_end_is_kept_aside_and_its_place_in_the_chain_is_used_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    added(journal, 1, 2)
    journal.close()
    (file,) = tmp_path.glob("0/*.log")
    raw = file.read_bytes()
    file.write_bytes(raw[:-100])

    again = opened(tmp_path)
    added(again, 2, 3)
    left = taken(again)

    assert positions(left) == [1, 2, 3] and found(events(left)) == []
    assert raw[:-100].endswith(file.with_suffix(".torn").read_bytes())


def test_a_full_journal_refuses_counts_its_place_and_takes_more_once_there_is_room(tmp_path: Path) -> None:
    """The chain shows what was lost, and the lost hold up nobody, in this process or the next."""
    journal = opened(tmp_path, max_bytes=7_000)
    refused = [journal.append([record(n)]) for n in range(1, 12)]
    sent = taken(journal)
    for entry in sent:
        journal.done(entry.position)
    added(journal, 12, 12)
    late = taken(journal)

    lost = sum(refused)
    assert 0 < lost < 11 and journal.bytes <= 7_000
    assert len(journal) == 1
    journal.close()
    again = opened(tmp_path, max_bytes=7_000)
    assert positions(taken(again)) == [12] and len(again) == 1
    assert [(position, last) for _, position, last in found(events(sent + late))] == [(12 - lost, 11)]


def test_a_disk_that_refuses_loses_the_event_and_not_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    added(journal, 1, 1)
    full = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 - the journal closes it
    monkeypatch.setattr(journal, "_writer", full)

    assert journal.append([record(2), record(3)]) == 2
    assert len(journal) == 1


def test_events_that_are_kept_together_are_as_if_kept_one_by_one(tmp_path: Path) -> None:
    """In the chain, in what is sent, and to the next process; with more of them than are kept in memory, and none."""
    many = [record(number) for number in range(1, 301)]
    journal, alone = opened(tmp_path / "together"), opened(tmp_path / "alone")
    alone.head = journal.head

    lost = [journal.append(group) for group in (many[:2], [], many[2:5], many[5:])]
    added(alone, 1, 300)

    assert lost == [0, 0, 0, 0]
    assert taken(journal) == taken(alone)
    journal.close()
    assert positions(taken(opened(tmp_path / "together"))) == list(range(1, 301))


def test_of_events_that_come_together_those_are_kept_that_there_is_room_for(tmp_path: Path) -> None:
    journal = opened(tmp_path, max_bytes=7_000)

    kept = 11 - journal.append([record(number) for number in range(1, 12)])
    sent = taken(journal)

    assert 0 < kept < 11 and positions(sent) == list(range(1, kept + 1))
    assert len(journal) == kept and journal.bytes <= 7_000


def test_a_disk_that_refuses_events_together_takes_those_it_has_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a while cannot be had without one's own: this one refuses whatever is larger than an event."""
    journal = opened(tmp_path)
    real = journal._write
    monkeypatch.setattr(journal, "_write", lambda first, records: len(records) < 1_500 and real(first, records))

    lost = journal.append([record(number) for number in range(1, 6)])
    sent = taken(journal)

    assert lost == 0 and positions(sent) == [1, 2, 3, 4, 5]
    assert found(events(sent)) == [] and len(journal) == 5


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a disk with no more room: what crosses the bound is written up to it, and what begins there is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_pieces_that_a_full_disk_took_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one after the other, nor to the next process; what comes once there is room follows what was whole."""
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", MIB)
    journal = opened(tmp_path)
    added(journal, 1, 1)
    with files_of_at_most(int(2.5 * journal.bytes)):
        lost = journal.append([record(number) for number in (2, 3, 4)])
    added(journal, 5, 6)

    assert lost == 2 and positions(taken(journal)) == [1, 2, 5, 6]
    assert journal.bytes == sum(path.stat().st_size for path in tmp_path.glob("0/*.log"))
    journal.close()
    assert positions(taken(opened(tmp_path))) == [1, 2, 5, 6]
    assert not list(tmp_path.glob("0/*.torn"))


def test_a_link_that_is_no_decision_ends_what_is_taken_up(tmp_path: Path) -> None:
    """It is kept aside with all behind it, as any torn end, and the journal opens."""
    journal = opened(tmp_path)
    added(journal, 1, 2)
    journal.close()
    (log,) = tmp_path.glob("0/*.log")
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'{"', b'["'))

    assert positions(taken(opened(tmp_path))) == []
    assert len(list(tmp_path.glob("0/*.torn"))) == 1


def test_two_processes_have_a_journal_each(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    added(one, 1, 1)
    added(two, 1, 2)

    assert one.head.chain_id != two.head.chain_id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    one.close()
    assert opened(tmp_path).head == one.head


def test_links_that_were_refused_at_the_end_stay_empty_places(tmp_path: Path) -> None:
    """The broker is done with them, and the next process has not seen them: its links come after."""
    journal = opened(tmp_path, 1_500)
    lost = sum(journal.append([record(number)]) for number in range(1, 9))
    for entry in taken(journal):
        journal.done(entry.position)
    journal.close()
    assert 0 < lost < 8

    again = opened(tmp_path)
    assert len(again) == 0
    added(again, 9, 10)

    assert positions(taken(again)) == [9, 10]


def test_a_file_without_a_link_is_no_file(tmp_path: Path) -> None:
    """A process killed between making it and writing to it, or a disk that was full."""
    journal = opened(tmp_path)
    added(journal, 1, 2)
    journal.close()
    (tmp_path / "0" / f"{3:012}.log").touch()

    again = opened(tmp_path)
    added(again, 3, 4)
    assert positions(taken(again)) == [1, 2, 3, 4]
    for position in range(1, 5):
        again.done(position)
    again.close()

    assert opened(tmp_path).head.position == 4


def test_a_mark_without_a_journal_is_of_another_chain(tmp_path: Path) -> None:
    """A power cut took the files, or somebody did."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "delivered").write_text("7")

    journal = opened(tmp_path)
    added(journal, 1, 1)

    assert positions(taken(journal)) == [1]
