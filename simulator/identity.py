"""Personal data of people who do not exist, and the keyed tokens the platform sees instead.

Card numbers start with a test issuer's 400000 and pass the Luhn check; e-mails live under
example.com (RFC 2606). This is the one place where the simulator makes tokens.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraud_assets.contracts.tokens import TokenKey, tokenise
from simulator.ids import fixed_width_strings, mixed

_TEST_ISSUER = (4, 0, 0, 0, 0, 0)
_ACCOUNT_DIGITS = 9


def card_numbers(n: int, seed: int) -> pa.StringArray:
    """Distinct 16-digit test card numbers in an order that says nothing."""
    serial = _distinct_serials(n, seed)
    digits = np.empty((n, 16), dtype=np.uint8)
    digits[:, :6] = _TEST_ISSUER
    for place in range(_ACCOUNT_DIGITS):
        digits[:, 14 - place] = (serial // 10**place) % 10
    digits[:, 15] = _luhn_digit(digits[:, :15])
    return fixed_width_strings(digits + np.uint8(ord("0")))


def _distinct_serials(n: int, seed: int) -> npt.NDArray[np.int64]:
    """An affine walk through 10**9: the step is coprime to ten, so no serial repeats."""
    space = 10**_ACCOUNT_DIGITS
    start = int(mixed(np.array([seed], dtype=np.uint64), 3)[0]) % space
    return np.asarray((start + np.arange(n, dtype=np.int64) * 387_420_489) % space, dtype=np.int64)


def _luhn_digit(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The check digit that makes each row of 15 digits pass ISO/IEC 7812-1."""
    doubled = digits[:, ::2].astype(np.int64) * 2
    total = (doubled - 9 * (doubled > 9)).sum(axis=1) + digits[:, 1::2].sum(axis=1)
    return np.asarray((10 - total % 10) % 10, dtype=np.uint8)


def emails(n: int) -> list[str]:
    """One address per account."""
    return [f"user{i:06d}@example.com" for i in range(n)]


def dotted(addresses: npt.NDArray[np.uint32]) -> list[str]:
    """IPv4 integers as text."""
    octets = addresses.astype(">u4").view(np.uint8).reshape(-1, 4)
    return [f"{a}.{b}.{c}.{d}" for a, b, c, d in octets.tolist()]


def tokens(kind: Literal["card", "email", "ip"], values: Iterable[str], key: TokenKey) -> pa.StringArray:
    """The token of each value, as both edges of the platform make it."""
    return pa.array([tokenise(kind, value, key) for value in values], type=pa.string())
