"""Sine and cosine of integers in integers: the same on every machine, however many events are computed at once.

A library's sine may differ in the last bit from one processor to the next, and a vectorised one from a scalar.
"""

from fraud_assets.engine.jit import kernel
from fraud_assets.engine.kernels import NULL
from fraud_assets.features.expressions import UNIT

TURN_E6, QUARTER_E6 = 360_000_000, 90_000_000
BITS = 31  # of a fraction: a product of two, each below 2, fits into int64
# (π/2)^n / n! for n = 1, 3, … 15: Taylor's series of the sine of t quarter turns. The next term is below a billionth.
_C1, _C3, _C5, _C7 = 3_373_259_426, 1_387_197_337, 171_138_612, 10_053_990
_C9, _C11, _C13, _C15 = 344_545, 7_728, 122, 1


@kernel
def sine_e9(angle_e6):
    """Sine of an angle in microdegrees, in billionths: within 2 of the true value, and never beyond ±10⁹."""
    turned = angle_e6 % TURN_E6
    sign = 1
    if turned >= 2 * QUARTER_E6:
        turned -= 2 * QUARTER_E6
        sign = -1
    if turned > QUARTER_E6:
        turned = 2 * QUARTER_E6 - turned
    t = (turned << BITS) // QUARTER_E6
    u = (t * t) >> BITS
    series = _C13 - ((u * _C15) >> BITS)
    series = _C11 - ((u * series) >> BITS)
    series = _C9 - ((u * series) >> BITS)
    series = _C7 - ((u * series) >> BITS)
    series = _C5 - ((u * series) >> BITS)
    series = _C3 - ((u * series) >> BITS)
    series = _C1 - ((u * series) >> BITS)
    value = (((t * series) >> BITS) * UNIT + (1 << (BITS - 1))) >> BITS
    return sign * min(value, UNIT)


@kernel
def sines(angles, turn):
    """In place, each angle turned by `turn` first: a quarter turn makes cosines. NULL stays NULL."""
    for i in range(len(angles)):
        if angles[i] != NULL:
            angles[i] = sine_e9(angles[i] + turn)
