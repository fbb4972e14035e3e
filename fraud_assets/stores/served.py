"""What a decision was made from, whichever way its event says it: vector, states and the status of each unit."""

from collections.abc import Iterator, Sequence
from struct import Struct

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.events import Decision, StateRead, ViewStatus

Floats = npt.NDArray[np.float32]

FLOAT32 = np.dtype("<f4")


_POSITION = Struct("<qq")
CODE_BITS = 63
_STATUSES = tuple(ViewStatus)


class BadRecord(ValueError):
    """What an event gives for one of these is none."""


class BadVector(BadRecord):
    pass


class BadStates(BadRecord):
    pass


class BadStatuses(BadRecord):
    pass


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


def served_states(decision: Decision) -> list[StateRead]:
    """Of each group whose entity the payment names, in order; none of a degraded decision. Raises BadStates."""
    read = decision.states_read
    if read is None:
        return decision.states
    if decision.states or not len(read.groups) == len(read.keys) == len(read.versions) == len(read.positions):
        raise BadStates(
            "one of states and states_read must be given, which names each group's key, version and position"
        )
    return [
        StateRead(
            group=group,
            entity_key=key,
            version=version,
            position={
                f"{topic}/{partition}": offset
                for topic, partition, offset in offsets_in(position, read.topics, read.partition_bits)
            },
        )
        for group, key, version, position in zip(read.groups, read.keys, read.versions, read.positions, strict=True)
        if key is not None
    ]


def offsets_in(position: bytes, topics: Sequence[str], partition_bits: int) -> Iterator[tuple[str, int, int]]:
    """(topic, partition, last applied offset) of a `StatesRead`; a topic that has no name there is called by its number.

    Raises BadStates if the bytes are no pairs, or so many bits are no part of a code.
    """
    if not 0 <= partition_bits < CODE_BITS:
        raise BadStates(f"{partition_bits} bits of a partition")
    if len(position) % _POSITION.size:
        raise BadStates(f"{len(position)} bytes are no pairs of a code and an offset")
    for code, offset in _POSITION.iter_unpack(position):
        number, partition = code >> partition_bits, code & ((1 << partition_bits) - 1)
        yield topics[number] if 0 <= number < len(topics) else str(number), partition, offset


def served_statuses(decision: Decision, service_digest: str, unit_names: Sequence[str]) -> dict[str, ViewStatus]:
    """By unit. service_digest, unit_names: of a service that is known here (`ServicePlan.unit_names`).

    Raises BadStatuses if the decision is another one's, whose units only its own declaration names, and for codes that are none.
    """
    codes = decision.view_codes
    if codes is None:
        return decision.view_status
    if decision.service_digest != service_digest:
        raise BadStatuses(f"made by {decision.service} {decision.service_digest}, whose units are not known here")
    if decision.view_status or len(codes) != len(unit_names) or max(codes, default=0) >= len(_STATUSES):
        raise BadStatuses(f"{len(codes)} codes up to {max(codes, default=0)}, for {len(unit_names)} units")
    return {unit: _STATUSES[code] for unit, code in zip(unit_names, codes, strict=True)}
