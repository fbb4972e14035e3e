"""Groups of payments that a model is judged on one by one: a good average can hide a bad day for one of them.

By what the service itself knows of a payment. Not by kind of attack: labels carry none, and the simulator's own account
of its attacks is an oracle that training may not see (`python -m simulator` scores runs by it).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.features.sources import Kind, Source

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

ALL = "all"
NEW_ACCOUNT_AGE_S = 7 * DAY_MS / 1000  # as long as the warm-up: after it nobody is a stranger for want of history
HIGH_SHARE = 0.1
AGE_FEATURE = "account_first_seen_age_s"
BY_VALUE = ("payment_method", "tier", "category")


def slices_of(
    names: Sequence[str], features: Floats, euro_cents: npt.NDArray[np.float64], scored: Source
) -> dict[str, Flags]:
    """Name to (n,) who belongs to it; `all` first. Payments may belong to several.

    A service that lacks a feature lacks its slices. features: (n, n_features) by `names`.
    """
    place = {name: at for at, name in enumerate(names)}
    found = {ALL: np.ones(len(euro_cents), bool)}
    if AGE_FEATURE in place:
        age = features[:, place[AGE_FEATURE]]
        found["new_accounts"] = np.isnan(age) | (age < NEW_ACCOUNT_AGE_S)  # unknown: this is its first event
    if len(euro_cents):
        found["high_amounts"] = euro_cents >= np.quantile(euro_cents, 1 - HIGH_SHARE)
    for name in BY_VALUE:
        if name in place and name in scored.fields and scored.fields[name].kind is Kind.CATEGORY:
            found |= _by_value(name, features[:, place[name]], dict(enumerate(scored.fields[name].vocabulary, start=1)))
    return found


def _by_value(name: str, codes: Floats, vocabulary: Mapping[int, str]) -> dict[str, Flags]:
    """A slice for each value that occurs."""
    slices = {f"{name}={value}": codes == code for code, value in vocabulary.items()}
    return {label: member for label, member in slices.items() if member.any()}
