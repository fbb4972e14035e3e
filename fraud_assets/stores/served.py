"""The vector that a decision was made from, whichever way its event says it."""

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.events import Decision

Floats = npt.NDArray[np.float32]

FLOAT32 = np.dtype("<f4")


class BadVector(ValueError):
    """What an event gives for its vector is none."""


def served_vector(decision: Decision) -> Floats:
    """(n_features,) as served, NaN for null; not to be written to.

    Raises BadVector if none is given or two, if its bytes are no float32 numbers, or if one of them is infinite: no
    feature is, and a number that no float32 holds would be.
    """
    if (decision.vector is None) == (not decision.features):
        raise BadVector("one of vector and features must be given, and not both")
    if decision.vector is None:
        with np.errstate(over="ignore"):  # what no float32 holds becomes infinite
            found = np.array(decision.features, np.float64).astype(np.float32)  # null becomes NaN
    elif len(decision.vector) % FLOAT32.itemsize:
        raise BadVector(f"{len(decision.vector)} bytes are no float32 numbers")
    else:
        found = np.frombuffer(decision.vector, FLOAT32)
    if np.isinf(found).any():
        raise BadVector(f"an infinite number among {len(found)}")
    return found
