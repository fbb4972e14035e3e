"""R19: a candidate that is bad is out within a thousand canary requests, and a sound one is not."""

import os
import subprocess
import sys

import pytest

from fraud_assets.rollout.bounds import Limits
from fraud_assets.rollout.machine import Phase
from fraud_assets.rollout.rehearsal import CANDIDATES, WITHIN, Traffic, rehearse

BAD = [name for name in CANDIDATES if name != "sound"]
WORDS = {"denies": "more of all payments", "slow": "takes more than 10 ms", "errors": "gives"}


@pytest.mark.parametrize("per_second", [1.0, 20.0, 200.0])
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("seed", range(3))
def test_a_bad_candidate_is_halted_within_a_thousand_canary_requests(name: str, per_second: float, seed: int) -> None:
    """Looked at every thirty seconds, so that up to 300 of them come between two looks."""
    found = rehearse(name, Limits(), Traffic(per_second), seed)

    assert found.phase is Phase.HALTED
    assert found.canary_requests <= WITHIN
    assert WORDS[name] in found.words
    assert found.as_it_should


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_candidate_is_left_alone(seed: int) -> None:
    found = rehearse("sound", Limits(), Traffic(100.0), seed)

    assert (found.phase, found.as_it_should) == (Phase.CANARY, True)
    assert found.canary_requests >= 2 * WITHIN


def test_within_bounds_that_tolerate_everything_a_bad_candidate_stays_and_the_rehearsal_says_so() -> None:
    lax = Limits(max_error_share=0.9)

    found = rehearse("errors", lax)

    assert (found.phase, found.as_it_should) == (Phase.CANARY, False)


@pytest.mark.parametrize(("changed", "status"), [({}, 0), ({"FRAUD_ROLLOUT_MAX_ERROR_SHARE": "0.9"}, 1)])
def test_the_command_rehearses_within_the_settings_bounds(changed: dict[str, str], status: int) -> None:
    command = [sys.executable, "-m", "fraud_assets.rollout", "rehearse", "--per-second", "50"]
    found = subprocess.run(command, env={**os.environ, **changed}, capture_output=True, text=True, check=False)

    assert found.returncode == status, found.stderr
    assert [line.split()[0] for line in found.stdout.splitlines()[::2]] == list(CANDIDATES)
    assert ("NOT AS IT SHOULD BE" in found.stdout) == bool(status)
