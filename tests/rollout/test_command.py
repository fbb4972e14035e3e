"""`python -m fraud_assets.rollout` on a real model folder and a real MLflow, and with MLflow gone."""

import subprocess
import sys
from pathlib import Path

import pytest

from fraud_assets.models.artifact import publish_champion, read_champion, write_artifact
from fraud_assets.models.manifest import MODEL_FILE
from fraud_assets.rollout.__main__ import main
from fraud_assets.rollout.log import LOG_FILE, PromotionLog
from fraud_assets.rollout.machine import Phase, Plan
from fraud_assets.rollout.pointer import follow
from fraud_assets.stores.registry import ModelRegistry, _client
from tests.models.made import Trained

SAID = ["--who", "anna", "--why", "a test"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def folder(model_dir: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Path:
    """v1, which is champion, and v2; and settings that name them, with an MLflow that is not there."""
    write_artifact(model_dir / "v2", trained.booster_json, trained.manifest("v2"))
    publish_champion(model_dir, "v1")
    monkeypatch.setenv("FRAUD_MODEL_DIR", str(model_dir))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nobody listens
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "7")  # so that what the command sets is forgotten afterwards
    return model_dir


@pytest.fixture
def registry(folder: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    """An MLflow that is there and knows both versions."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    registry = ModelRegistry(mlflow_uri)
    for version in ("v1", "v2"):
        registry.register(_client(mlflow_uri).create_run("0").info.run_id, version, {})
    return registry


def test_a_whole_rollout_and_its_rollback_by_hand(
    folder: Path, registry: ModelRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["shadow", "v2"], ["canary", "--early"], ["full", "--early"]):
        assert main([*command, *SAID]) == 0
    assert registry.champion().model_version == "v2"

    assert main(["rollback", *SAID]) == 0

    rollout = follow(folder)
    assert (rollout.phase, rollout.plan) == (Phase.REVERTED, Plan())
    assert read_champion(folder) == rollout.champion
    assert registry.champion().model_version == "v1"
    said = capsys.readouterr().out
    assert "step 5, phase reverted" in said
    assert "MLflow: v1 is Production, v2 is Archived, v1 is champion" in said


def test_a_rollback_works_while_mlflow_is_down_and_says_what_is_left_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["shadow", "v2"], ["canary", "--early"], ["full", "--early"], ["rollback"]):
        assert main([*command, *SAID]) == 0

    champion = read_champion(folder)
    assert champion is not None and champion.version == "v1"
    assert "Scorers follow all the same; run `reconcile` once it is back." in capsys.readouterr().err


def test_reconcile_tells_mlflow_later_what_it_missed(
    folder: Path, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as down:
        down.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        main(["shadow", "v2", *SAID])
        assert main(["reconcile"]) == 4

    assert main(["reconcile"]) == 0
    assert main(["reconcile"]) == 0

    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MLflow")]
    assert told == [
        "MLflow: v1 is Production, v2 is Staging, v1 is champion, v2 is challenger",
        "MLflow: says so already",
    ]


REFUSED = {
    "an illegal step": (["full", "--early"], "IllegalTransition: full out of phase none (v1 is champion). Allowed here: shadow, ab, appoint."),
    "a version that is not there": (["shadow", "v9"], "has no version v9"),
    "a name that leads elsewhere": (["shadow", "../v1"], "RefusedModel (bad_version)"),
    "the champion against itself": (["shadow", "v1"], "it cannot challenge itself"),
    "a share that is none": (["ab", "v2", "--share", "1"], "--share 1 is no share of accounts"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_changes(
    folder: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, words = REFUSED[what]

    assert main([*command, *SAID]) == 3

    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert follow(folder).phase is Phase.NONE


def test_a_model_whose_bytes_changed_is_not_even_shadowed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "v2" / MODEL_FILE).write_bytes(b"{}")

    assert main(["shadow", "v2", *SAID]) == 3

    assert "hash_mismatch" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "hours"), [("canary", "168 h"), ("full", "72 h")])
def test_a_phase_whose_time_is_not_over_ends_only_if_a_person_says_so(
    folder: Path, command: str, hours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for before in (["shadow", "v2"], *([["canary", "--early"]] if command == "full" else [])):
        main([*before, *SAID])

    assert main([command, *SAID]) == 3
    assert f"the plan gives it {hours}. Wait, or say --early." in capsys.readouterr().err
    assert main([command, "--early", *SAID]) == 0
    assert PromotionLog(folder).entries()[-1].step.evidence == {"source": "command line", "due": False}


def test_durations_are_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a demo takes them."""
    monkeypatch.setenv("FRAUD_ROLLOUT_SHADOW_HOURS", "0")
    monkeypatch.setenv("FRAUD_ROLLOUT_CANARY_SHARE", "0.25")

    assert main(["shadow", "v2", *SAID]) == 0
    assert main(["canary", *SAID]) == 0

    assert follow(folder).share == 0.25


def test_an_ab_test_by_hand(folder: Path) -> None:
    assert main(["ab", "v2", "--share", "0.5", *SAID]) == 0
    assert (follow(folder).phase, follow(folder).share) == (Phase.AB, 0.5)

    assert main(["full", *SAID]) == 0


def test_the_status_and_the_log_are_for_people_and_change_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["shadow", "v2", *SAID])
    before = (folder / LOG_FILE).read_bytes()
    capsys.readouterr()

    assert [main([command]) for command in ("status", "log", "verify")] == [0, 0, 0]

    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("step 2, phase shadow since 20")
    assert said[1].split() == ["champion", "v1", follow(folder).champion.manifest_sha256[:12]]  # type: ignore[union-attr]
    assert said[3].split(None, 1) == ["allowed", "canary, halt, rollback, appoint"]
    assert said[5].endswith("shadow   v1 is champion, v2 challenges; anna: a test")
    assert said[6] == "2 steps, each from the one before; the pointer follows the last"
    assert (folder / LOG_FILE).read_bytes() == before


def test_a_command_without_a_who_or_why_is_no_command(folder: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rollback", "--who", "anna"])

    assert ended.value.code == 2


def test_settings_that_cannot_be_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_ROLLOUT_CANARY_SHARE", "2")

    assert main(["status"]) == 2


def test_it_runs_as_a_module(folder: Path, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fraud_assets.rollout", "status"], cwd=root, capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("step 0, phase none")
    assert done.stderr == ""
