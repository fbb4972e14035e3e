"""The same bits on the other side, and the same memory where that is promised."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest

from fraud_assets.stores.conversions import to_pandas, to_polars
from fraud_assets.stores.frames import to_arrow

NAMES = ("a", "b", "c")


@pytest.fixture
def features() -> np.ndarray:
    made = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    made[::5, 1] = np.nan
    return made


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrow_has_every_bit(features: np.ndarray, order: Literal["C", "F"]) -> None:
    """Rows or columns side by side; NaN stays NaN, for a null would be another answer to whoever reads the table."""
    table = to_arrow(NAMES, np.asarray(features, order=order))

    assert table.schema == pa.schema([(name, pa.float32()) for name in NAMES])
    assert [table[name].null_count for name in NAMES] == [0, 0, 0]
    assert [table[name].to_numpy().tobytes() for name in NAMES] == [column.tobytes() for column in features.T]


def test_arrow_shares_the_memory_of_a_chunk(features: np.ndarray) -> None:
    """`vector_chunks` gives each feature's values side by side; those are the columns, uncopied."""
    chunk = np.asfortranarray(features)
    table = to_arrow(NAMES, chunk)

    for place, name in enumerate(NAMES):
        column = table[name].chunk(0).to_numpy(zero_copy_only=True)
        assert np.shares_memory(column, chunk[:, place])


def test_polars_has_every_bit(features: np.ndarray) -> None:
    frame = to_polars(NAMES, features)
    assert frame.columns == list(NAMES)
    assert frame.to_numpy().tobytes() == features.tobytes()


def test_pandas_shares_the_memory(features: np.ndarray) -> None:
    frame = to_pandas(NAMES, features)
    assert list(frame.columns) == list(NAMES)
    assert np.shares_memory(frame.to_numpy(), features)
    assert frame.to_numpy().tobytes() == features.tobytes()


# Printed by a Python that has PyTorch: the wheel for x86 brings 5 GB of CUDA, the distribution's package 150 MB.
IN_TORCH = """
import json, numpy, torch
from fraud_assets.stores.conversions import to_torch
features = numpy.arange(150, dtype=numpy.float32).reshape(50, 3)
features[::5, 1] = numpy.nan
tensor = to_torch(features)
same_bits = tensor.numpy().tobytes() == features.tobytes()
features[7, 2] = -1.0
print(json.dumps({
    "same_pointer": tensor.data_ptr() == features.ctypes.data, "same_bits": same_bits, "sees_a_change": tensor[7, 2].item() == -1.0,
    "shape": list(tensor.shape), "dtype": str(tensor.dtype), "stride": list(tensor.stride()),
}))
"""


def with_torch(root: Path, script: str) -> str:
    """What a script prints in our own Python if it has the `torch` extra, else in the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
            return subprocess.run([python, "-c", script], cwd=root, capture_output=True, text=True, check=True).stdout
    pytest.fail("no Python with PyTorch: install the torch extra, or python3-torch (make test-torch)")


@pytest.mark.torch
def test_torch_shares_the_memory(root: Path) -> None:
    found = json.loads(with_torch(root, IN_TORCH))

    assert found == {
        "same_pointer": True, "same_bits": True, "sees_a_change": True,
        "shape": [50, 3], "dtype": "torch.float32", "stride": [3, 1],
    }  # fmt: skip
