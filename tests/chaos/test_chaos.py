"""The short form of every proof."""

import pytest

from tests.chaos.proof import SHORT
from tests.chaos.proofs import PROOFS


@pytest.mark.e2e
@pytest.mark.parametrize("name", PROOFS)
def test_the_promise_holds(name: str) -> None:
    outcome = PROOFS[name].run(SHORT)
    assert outcome.passed, outcome.figure
