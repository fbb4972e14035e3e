"""Amounts of many currencies on one scale, so that what mistakes cost can be added up.

A lost payment of 400,000 paise is forty euros, not four thousand: added up as they are, a handful of payments
in small units decides where the threshold lies.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

# Minor units that are worth one euro cent. Rough, and good for months: costs are known to a tenth at best.
# Of a currency without minor units (yen), its units.
PER_EURO_CENT: Mapping[str, float] = MappingProxyType(
    {
        "EUR": 1.0, "USD": 1.15, "GBP": 0.87, "CHF": 0.94, "CAD": 1.6, "AUD": 1.75, "NZD": 1.95, "SEK": 11.0, "NOK": 11.7,
        "DKK": 7.46, "PLN": 4.25, "CZK": 24.5, "HUF": 395.0, "RON": 5.0, "BGN": 1.96, "TRY": 48.0, "ZAR": 20.5,
        "BRL": 6.3, "MXN": 21.5, "INR": 101.0, "CNY": 8.2, "HKD": 9.0, "SGD": 1.5, "JPY": 1.75, "KRW": 16.5,
    }
)  # fmt: skip


class UnknownCurrency(ValueError):
    """An amount that nobody can compare; the message says where a rate is given."""


def euro_cents(
    amount_minor: npt.NDArray[np.int64], currency: Sequence[str], rates: Mapping[str, float] | None = None
) -> npt.NDArray[np.float64]:
    """(n,) the amounts in euro cents. rates: minor units per euro cent, before ours. Raises UnknownCurrency."""
    known = {**PER_EURO_CENT, **(rates or {})}
    names, place = np.unique(np.array(currency, dtype=str), return_inverse=True)
    unknown = [name for name in names.tolist() if name not in known]
    if unknown:
        raise UnknownCurrency(
            f"UnknownCurrency: {', '.join(unknown)}. Give its minor units per euro cent:"
            f" FRAUD_EXCHANGE_RATES='{{\"{unknown[0]}\": 1.0}}'."
        )
    found: npt.NDArray[np.float64] = amount_minor / np.array([known[name] for name in names.tolist()])[place]
    return found
