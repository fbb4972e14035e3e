"""The spool: what is written is read once and in order, over files, full disks and readers that come later."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import spool as spool_module
from api.spool import SpoolReader, SpoolWriter, frames_through


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(spool_module, "READ_BYTES", 37)


def everything(reader: SpoolReader) -> list[bytes]:
    found: list[bytes] = []
    while frames := reader.read():
        found += frames
    return found


@given(st.lists(st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=5), max_size=12), st.integers(0, 9))
def test_frames_are_read_once_and_in_order_whenever_one_looks(
    tmp_path_factory: pytest.TempPathFactory, writes: list[list[bytes]], every: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    writer, reader = SpoolWriter(folder), SpoolReader(folder)
    found: list[bytes] = []
    for number, frames in enumerate(writes):
        assert writer.add(frames)
        if number % (every + 1) == every:
            found += everything(reader)

    found += everything(reader)

    assert found == [frame for frames in writes for frame in frames]
    assert reader.number == writer.given == len(found)
    assert len(list(folder.iterdir())) <= 1  # what was read is deleted


def test_a_scorer_before_is_read_first_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SpoolWriter(tmp_path).add([b"old"])
    monkeypatch.setattr("api.spool.time.time_ns", lambda: 17)  # long ago

    writer = SpoolWriter(tmp_path)
    assert writer.add([b"new"])

    reader = SpoolReader(tmp_path)
    assert everything(reader) == [b"old", b"new"]
    assert (reader.start, reader.number) == (writer.start, 1)


def test_a_reader_that_comes_later_passes_over_what_was_recorded(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    for number in range(20):
        writer.add([b"%d" % number * 9])

    recorded = frames_through(tmp_path, lambda frame: frame == b"12" * 9)

    assert recorded == 13
    assert everything(SpoolReader(tmp_path, recorded)) == [b"%d" % number * 9 for number in range(13, 20)]
    assert frames_through(tmp_path / "nowhere", lambda _: True) == 0


def test_what_a_full_disk_cut_off_is_refused_and_what_comes_later_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real short write cannot be had without a disk of one's own."""
    writer, real = SpoolWriter(tmp_path), os.write
    assert writer.add([b"before"])
    monkeypatch.setattr("api.spool.os.write", lambda fd, raw: real(fd, raw[: len(raw) // 2]))

    assert not writer.add([b"cut off"])
    assert not writer.add([b"again"])

    monkeypatch.setattr("api.spool.os.write", real)
    assert writer.add([b"after"])
    reader = SpoolReader(tmp_path)
    assert everything(reader) == [b"before", b"after"]
    assert (writer.given, reader.number) == (2, 2)
