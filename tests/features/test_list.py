"""`python -m fraud_assets.features list`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fraud_assets.features.__main__ import COLUMNS, main
from fraud_assets.features.catalogue import ticketing


def test_a_pipe_gets_one_tab_separated_line_a_feature(capsys: pytest.CaptureFixture[str]) -> None:
    """Name, entity, view, window, TTL, digest, owner; hidden features are not listed."""
    assert main(["list"]) == 0

    header, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert tuple(header) == COLUMNS
    registry = ticketing.registry()
    assert [row[0] for row in rows] == list(registry.feature_names(registry.service("fraud_scoring")))
    found = {row[0]: row[1:] for row in rows}
    assert found["user_txn_count_1h"][:4] == ["account", "user_realtime_fraud_features", "1h", "2h"]
    assert found["current_inventory"][:4] == ["event", "event_realtime_metrics", "lifetime", "1h"]


def test_json_has_whole_digests_and_ttl_in_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--catalogue", "handbook", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert {len(row["digest"]) for row in found} == {64}
    assert not any(row["hidden"] for row in found)
    names = [row["name"] for row in found]
    assert len(set(names)) == len(names)  # two services share most of them


def test_a_terminal_gets_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list", "--catalogue", "sparkov"]) == 0
    assert "features" in capsys.readouterr().out


def test_an_unknown_service_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--service", "fraud"]) == 2
    assert "UnknownFeature: service 'fraud'" in capsys.readouterr().err


def test_a_reader_that_stops_early_is_no_error(root: Path) -> None:
    """`… list | head -1` prints one line and nothing on standard error."""
    found = subprocess.run(
        f"{sys.executable} -m fraud_assets.features list | head -1",
        shell=True,
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith("name\t") and found.stderr == ""
