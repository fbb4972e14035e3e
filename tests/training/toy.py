"""A learnable toy, split as training splits."""

import numpy as np

from fraud_assets.training.split import Split


def toy(n: int = 2_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, Split]:
    """Two features of which the first decides, with noise; a tenth are frauds."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 2)).astype(np.float32)
    is_fraud = features[:, 0] + 0.3 * rng.normal(size=n) > 1.3
    return features, is_fraud, np.full(n, 1_000, np.int64), Split(np.arange(1_000), np.arange(1_200, n))


def halves(n: int = 2_000) -> list[Split]:
    """Each half of the toy scored by the other."""
    first, second = np.arange(n // 2), np.arange(n // 2, n)
    return [Split(second, first), Split(first, second)]
