import pytest

from fraud_assets.features.registry import Registry
from tests.domains.every_op import make_registry


@pytest.fixture(scope="session")
def every_op() -> Registry:
    """A registry over which every operation is computed."""
    return make_registry()
