"""The child that parses models: kept while it finds them sound, replaced when it cannot be trusted any more."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraud_assets.models.artifact import publish_champion, write_artifact
from fraud_assets.models.manifest import RefusedModel
from fraud_assets.models.verifier import Question, Verifier
from tests.models.made import Trained


@pytest.fixture
def question(tmp_path: Path, trained: Trained) -> Question:
    write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest())
    return Question(str(tmp_path), "v1", publish_champion(tmp_path, "v1").manifest_sha256)


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    verifier = Verifier()
    yield verifier
    verifier.close()


def pid_of(verifier: Verifier) -> int:
    assert verifier._child is not None
    return verifier._child.pid


def child(script: str, timeout_s: float = 20.0) -> Verifier:
    """One that does what a parser might do to its process."""
    return Verifier([sys.executable, "-c", script], timeout_s)


def test_one_child_judges_sound_models_one_after_the_other(verifier: Verifier, question: Question) -> None:
    """So that a swap costs no interpreter's start."""
    verifier.check(question)
    first = pid_of(verifier)
    verifier.check(question)
    assert pid_of(verifier) == first


def test_a_child_that_refused_is_not_asked_again(verifier: Verifier, question: Question) -> None:
    (Path(question.model_dir) / "v1" / "model.json").write_bytes(b"{}")
    with pytest.raises(RefusedModel, match="hash_mismatch") as refused:
        verifier.check(question)
    assert refused.value.reason == "hash_mismatch"
    assert verifier._child is None


def test_the_parsers_death_is_a_refusal_and_not_ours(question: Question) -> None:
    """Also its death on the first word, when nobody reads what we write."""
    for script in ("import os; input(); os.kill(os.getpid(), 11)", "raise SystemExit(4)"):
        verifier = child(script)
        with pytest.raises(RefusedModel, match=r"parser_died\): the child ended with (-11|4)"):
            verifier.check(question)
        assert verifier._child is None


def test_a_parser_that_never_arrives_is_given_up(question: Question) -> None:
    verifier = child("import time; time.sleep(60)", timeout_s=0.3)
    with pytest.raises(RefusedModel, match="parser_hung"):
        verifier.check(question)
    assert verifier._child is None


def test_a_child_that_babbles_is_no_verdict(question: Question) -> None:
    verifier = child("input(); print('fine, I think')")
    with pytest.raises(RefusedModel, match="parser_died"):
        verifier.check(question)


def test_a_child_that_died_meanwhile_is_replaced(verifier: Verifier, question: Question) -> None:
    verifier.check(question)
    assert verifier._child is not None
    verifier._child.kill()
    verifier._child.wait()
    verifier.check(question)


def test_the_child_ends_with_its_parent(question: Question) -> None:
    """Its standard input closes; nobody has to remember it."""
    verifier = Verifier()
    verifier.check(question)
    assert verifier._child is not None and verifier._child.stdin is not None
    verifier._child.stdin.close()
    assert verifier._child.wait(10) == 0
    verifier.close()
