"""One small world, generated once for all tests of this folder."""

import pytest

from simulator.build import build_world, name_world
from simulator.history import write_history
from simulator.plan import plan_attacks
from tests.simulator.worlds import KEY, SPEC, Made


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The small world's history in a lake of its own."""
    lake = tmp_path_factory.mktemp("simulated") / "lake"
    summary = write_history(SPEC, lake, KEY)
    world = build_world(SPEC)
    return Made(world, name_world(world, KEY), plan_attacks(world), lake, summary)
