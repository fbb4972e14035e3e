"""The short form of every proof whose short form is no other test."""

from pathlib import Path

import pytest

from tests.chaos.proof import SHORT
from tests.chaos.proofs import PROOFS


@pytest.mark.e2e
@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    "name", [name for name, proof in PROOFS.items() if not (proof.in_ci or proof.broken or proof.only_long)]
)
def test_the_promise_holds(name: str) -> None:
    outcome = PROOFS[name].run(SHORT)
    assert outcome.passed, outcome.figure


@pytest.mark.parametrize("name", [name for name, proof in PROOFS.items() if proof.in_ci])
def test_a_proof_that_ci_has_elsewhere_is_there(name: str, root: Path) -> None:
    path, _, test = PROOFS[name].in_ci.partition("::")
    assert not (root / path).samefile(__file__), "this file is here whatever it runs"
    assert f"def {test}(" in (root / path).read_text()
