"""Redis's replies, read where they lie: which bytes are whose, compiled.

A client library makes an object of each value, and of a batch's states half a dozen copies, which leave no room in the processor's cache for
what is made of them.
"""

from typing import Any

import numpy as np

from fraud_assets.engine.jit import kernel

# Places in the `state` of a reading: where it goes on, how many replies are still to come, how many strings were found, and behind which byte
# a refusal begins (0: none was refused).
AT, TO_COME, FOUND, REFUSED = range(4)
STATE_WORDS = 4
# Instead of how many are to come: this is no Redis.
BROKEN = -1

_CR, _MINUS = 13, 45
_STRING, _ARRAY, _ERROR, _SIMPLE, _NUMBER = 36, 42, 45, 43, 58
# Longer than any reply that Redis sends.
_MOST = 1 << 30


@kernel
def take_replies(raw: Any, end: int, state: Any, places: Any, version_bytes: int) -> Any:
    """Go on reading RESP2 replies in raw[:end], as far as they are whole; how many are still to come, or BROKEN.

    places (3, most): where each string begins and ends, in order, at whatever depth, both 0 of one that is not there; and, once all are here, the
    little-endian number of so many bytes that each but the last begins with, which it then begins behind. state: see above, written.
    """
    at, to_come, found = state[AT], state[TO_COME], state[FOUND]
    while to_come > 0 and at < end:
        kind, stop = raw[at], at + 1
        while stop < end and raw[stop] != _CR:
            stop += 1
        if stop + 2 > end:
            break
        after = stop + 2
        if kind == _STRING or kind == _ARRAY:
            is_none, number, strange = raw[at + 1] == _MINUS, np.int64(0), np.int64(0)
            for k in range(at + 1 + np.int64(is_none), stop):
                digit = np.int64(raw[k]) - 48
                strange |= np.int64(digit < 0 or digit > 9 or number > _MOST)
                number = number * 10 + digit
            if strange or (kind == _STRING and found >= places.shape[1]):
                return BROKEN
            if kind == _ARRAY:
                to_come += np.int64(0) if is_none else number
            elif is_none:
                places[0, found], places[1, found], places[2, found] = 0, 0, 0
                found += 1
            else:
                if after + number + 2 > end:
                    break
                places[0, found], places[1, found], places[2, found] = after, after + number, 0
                found += 1
                after += number + 2
        elif kind == _ERROR:
            state[REFUSED] = at + 1
        elif kind != _SIMPLE and kind != _NUMBER:
            return BROKEN
        to_come -= 1
        at = after
    state[AT], state[TO_COME], state[FOUND] = at, to_come, found
    if to_come == 0 and version_bytes:
        for k in range(found - 1):
            begin, behind = places[0, k], min(places[0, k] + version_bytes, places[1, k])
            for place in range(begin, behind):
                places[2, k] |= np.int64(raw[place]) << (np.int64(8) * (place - begin))
            places[0, k] = behind
    return to_come


def warm() -> None:
    """Compiled, or loaded, before a reply waits for it."""
    take_replies(np.zeros(1, np.uint8), 0, np.zeros(STATE_WORDS, np.int64), np.zeros((3, 1), np.int64), 0)
