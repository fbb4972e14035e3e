"""Vectors for whoever works with Polars, pandas or PyTorch, without a copy where the other side allows it.

Apart from `stores/frames.py`, which the worker and the scorer import and which must know none of these.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import torch

Floats = npt.NDArray[np.float32]


def to_polars(names: tuple[str, ...], features: Floats) -> "pl.DataFrame":
    """The vectors as a Polars frame, sharing Arrow's memory."""
    import polars as pl

    # Here: a tensor is made without Arrow and without the engine.
    from fraud_assets.stores.frames import to_arrow

    return pl.DataFrame(pl.from_arrow(to_arrow(names, features)))


def to_pandas(names: tuple[str, ...], features: Floats) -> "pd.DataFrame":
    """The vectors as a pandas frame over the same memory."""
    import pandas as pd

    return pd.DataFrame(features, columns=list(names), copy=False)


def to_torch(features: Floats) -> "torch.Tensor":
    """The vectors as a tensor over the same memory. Needs the `torch` extra."""
    import torch

    return torch.from_numpy(features)
