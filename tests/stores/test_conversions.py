"""The same bits on the other side, and the same memory where that is promised."""

import numpy as np
import pytest

from fraud_assets.stores.conversions import to_pandas, to_polars, to_torch

NAMES = ("a", "b", "c")


@pytest.fixture
def features() -> np.ndarray:
    made = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    made[::5, 1] = np.nan
    return made


def test_polars_has_every_bit(features: np.ndarray) -> None:
    frame = to_polars(NAMES, features)
    assert frame.columns == list(NAMES)
    assert frame.to_numpy().tobytes() == features.tobytes()


def test_pandas_shares_the_memory(features: np.ndarray) -> None:
    frame = to_pandas(NAMES, features)
    assert list(frame.columns) == list(NAMES)
    assert np.shares_memory(frame.to_numpy(), features)
    assert frame.to_numpy().tobytes() == features.tobytes()


def test_torch_shares_the_memory(features: np.ndarray) -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    tensor = to_torch(features)
    assert np.shares_memory(tensor.numpy(), features)
