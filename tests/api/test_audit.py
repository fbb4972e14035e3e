"""`python -m api audit verify` over a lake: a whole chain passes, and each way of tampering is named."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api import __main__ as command
from fraud_assets.contracts.events import Decision
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.contracts.test_chain import chain, decision


def written(lake: Lake, decisions: list[Decision]) -> None:
    positions = [LogPosition(one.event_time_ms, "decisions.v1", 0, offset) for offset, one in enumerate(decisions)]
    lake.append("decisions", from_events(Decision, decisions, positions), "part")


def audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Exit code and what was said."""
    monkeypatch.setenv("FRAUD_LAKE_URI", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["api", "audit", "verify", *arguments])
    try:
        command.main()
    except SystemExit as ended:
        return 1, capsys.readouterr().out + str(ended.code)
    return 0, capsys.readouterr().out


def test_a_whole_chain_gives_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the lake gives back has the digests of what the scorer sent."""
    made = chain(4)
    written(Lake(tmp_path), [decision(99), *made])

    code, said = audited(tmp_path, monkeypatch, capsys)

    assert code == 0 and f"head c:4:{made[-1].sha256}" in said
    assert "1 chains with 4 decisions: every chain is whole" in said
    assert "1 decisions are in no chain" in said
    kept = audited(tmp_path, monkeypatch, capsys, "--head", f"c:4:{made[-1].sha256}")
    assert kept[0] == 0
    cut = audited(tmp_path, monkeypatch, capsys, "--head", f"c:6:{made[-1].sha256}")
    assert cut[0] == 1 and "cut: c 5-6" in cut[1]


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (lambda made: [made[0], msgspec.structs.replace(made[1], action="deny"), *made[2:]], "altered: c 2 (decision d2)"),
        (lambda made: [made[0], *made[3:]], "dropped: c 2-3"),
        (lambda made: [made[1], made[0], *made[2:]], "reordered: c 2 (decision d2)"),
    ],
    ids=["altered", "dropped", "reordered"],
)  # fmt: skip
def test_what_was_done_to_the_lake_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tamper: Callable[[list[Decision]], list[Decision]], expected: str,
) -> None:  # fmt: skip
    written(Lake(tmp_path), tamper(chain(5)))

    code, said = audited(tmp_path, monkeypatch, capsys)

    assert code == 1 and expected in said and "1 findings" in said


def test_decisions_of_before_there_were_chains_are_read_and_in_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their files have no such columns."""
    lake = Lake(tmp_path)
    written(lake, [decision(1), decision(2)])
    (file,) = tmp_path.rglob("*.parquet")
    rows: pa.Table = pq.read_table(file, partitioning=None)
    pq.write_table(rows.drop_columns(["chain_id", "chain_position", "previous_sha256", "sha256"]), file)

    code, said = audited(tmp_path, monkeypatch, capsys)

    assert code == 0 and "2 decisions are in no chain" in said


@pytest.mark.parametrize("folder", ["", "not_there"])
def test_a_lake_without_decisions_is_no_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    """Who deletes everything, or misspells where it is, is not told that all is well; and a head that was kept still says what is gone."""
    code, said = audited(tmp_path / folder, monkeypatch, capsys)

    assert code == 1 and f"{tmp_path / folder} holds no decision" in said and "FRAUD_LAKE_URI" in said
    code, said = audited(tmp_path / folder, monkeypatch, capsys, "--head", f"c:6:{'0' * 64}")
    assert code == 1 and "cut: c" in said


def test_a_head_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["api", "audit", "verify", "--head", "c:4"])

    with pytest.raises(SystemExit):
        command.main()

    assert "CHAIN:POSITION:SHA256" in capsys.readouterr().err
