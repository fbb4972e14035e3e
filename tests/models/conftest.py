"""A small real model, and a folder that holds it."""

from pathlib import Path

import pytest

from fraud_assets.models.artifact import write_artifact
from tests.models.made import Trained


@pytest.fixture
def model_dir(tmp_path: Path, trained: Trained) -> Path:
    """A model folder with version `v1` and no champion yet."""
    write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest())
    return tmp_path
