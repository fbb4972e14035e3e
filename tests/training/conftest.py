import pytest

from tests.history import Past, make_past


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """Read it, do not write to it: every test of this folder shares it."""
    return make_past(tmp_path_factory.mktemp("past"))
