"""A run that was recorded is played again: the same people buy the same things, at another time and under other ids."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_assets.contracts.cards import redacted
from simulator.live_plan import plan_live
from simulator.scenarios.registry import SCENARIOS
from simulator.script import BadRecording, Script, read_recording, record, script_of, without
from tests.simulator.worlds import SPEC, Made

START_MS = SPEC.end_ms + 3_600_000
LATER_MS = START_MS + 86_400_000
REPLAY = SCENARIOS["replay"]


@pytest.fixture(scope="module")
def played(made: Made) -> Script:
    plan = plan_live(made.world, SCENARIOS["adaptive"], 100.0, 4.0, 7, START_MS)
    return script_of(made.world, made.names, plan)


@pytest.fixture
def recording(played: Script, tmp_path: Path) -> Path:
    record(played, tmp_path / "run.jsonl")
    return tmp_path / "run.jsonl"


def unmoved(request: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name not in ("transaction_id", "event_time_ms")}


def test_requests_are_the_same_but_for_their_time_and_id(played: Script, recording: Path) -> None:
    again = read_recording(recording, REPLAY, LATER_MS)

    assert [one.offset_ms for one in again.purchases] == [one.offset_ms for one in played.purchases]
    for one, was in zip(again.purchases, played.purchases, strict=True):
        assert unmoved(one.request) == unmoved(was.request)
        assert one.request["event_time_ms"] == was.request["event_time_ms"] + LATER_MS - START_MS  # type: ignore[operator]
        assert one.request["transaction_id"] == one.transaction.transaction_id != was.transaction.transaction_id
        assert (one.kind, one.is_fraud, one.persona, one.attacks) == (was.kind, was.is_fraud, was.persona, was.attacks)


def test_new_ids_are_all_different_and_no_card_number(played: Script, recording: Path) -> None:
    again = read_recording(recording, REPLAY, LATER_MS)
    ids = [one.transaction.transaction_id for one in again.purchases]

    assert len(set(ids)) == len(ids)
    assert [redacted(one) for one in ids] == ids


def test_what_is_said_of_a_purchase_is_said_of_its_second_self(played: Script, recording: Path) -> None:
    again = read_recording(recording, REPLAY, LATER_MS)

    said = [due for due in again.around if due.row >= 0]
    assert said and len(again.around) == len(played.around)
    for due in said:
        assert due.event.transaction_id == again.purchases[due.row].transaction.transaction_id  # type: ignore[attr-defined]
    for due, was in zip(again.around, played.around, strict=True):
        assert due.time_ms == due.event.event_time_ms == was.time_ms + LATER_MS - START_MS


def test_a_recording_of_a_replay_is_one_of_the_run(played: Script, recording: Path) -> None:
    again = read_recording(recording, REPLAY, LATER_MS)
    record(again, recording)

    third = read_recording(recording, REPLAY, START_MS)

    assert [unmoved(one.request) for one in third.purchases] == [unmoved(one.request) for one in played.purchases]


def test_what_an_adversary_might_have_done_is_not_recorded(played: Script, tmp_path: Path) -> None:
    unmade = {row for row, one in enumerate(played.purchases) if one.way > 0}
    assert unmade and any(due.row in unmade for due in played.around)

    record(without(played, unmade), tmp_path / "run.jsonl")
    again = read_recording(tmp_path / "run.jsonl", REPLAY, LATER_MS)

    assert len(again.purchases) == len(played.purchases) - len(unmade)
    for due in again.around:
        if due.row >= 0:
            assert due.event.transaction_id == again.purchases[due.row].transaction.transaction_id  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [], "not what `run --record` writes"),
        (lambda lines: lines[1:], "not what `run --record` writes"),
        (lambda lines: [lines[0].replace(b'"format":1', b'"format":9'), *lines[1:]], "format 9"),
        (lambda lines: [*lines[:3], b"{}", *lines[3:]], "line 4"),
        (lambda lines: [*lines[:3], lines[3].replace(b'"amount_minor":', b'"amount":'), *lines[4:]], "line 4"),
        (
            lambda lines: [lines[0], *(line for line in lines if b'"row":-1' not in line and b'"around"' in line)],
            "of purchase",
        ),
    ],
)
def test_a_file_that_is_not_a_recording_is_refused_by_its_line(recording: Path, change: Any, said: str) -> None:
    recording.write_bytes(b"\n".join(change(recording.read_bytes().splitlines())))

    with pytest.raises(BadRecording, match=said):
        read_recording(recording, REPLAY, LATER_MS)


def test_lines_are_json_that_anybody_can_read(recording: Path) -> None:
    lines = [msgspec.json.decode(line) for line in recording.read_bytes().splitlines()]

    assert lines[0]["scenario"] == "adaptive"
    assert {line["type"] for line in lines[1:]} == {"purchase", "around"}
