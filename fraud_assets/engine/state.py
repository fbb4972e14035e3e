"""Entity state: fold events into it, merge it, look into it.

A state is the packed bytes of a (view group, entity):

    version byte
    n, then n pairs (topic-partition code, last applied offset)       the position P
    RECENT hashes                                                    ids of the last scored events
    per segment, which is all views of the same sources and lateness: newest event time, late counter,
      per window: number of tiles, two bytes; unless 0: three bytes for the length of the rest; half a byte for the width of
        the first tile's number and of each column; that number; and the columns, one after another, each a number of every tile:
          tile numbers less the first, ascending
          per accumulator, those of a kind together: its word; of squares two columns; of a set, list or profile how many
            entries, and for each part of an entry (a hash; a code, its count; …) a column of all tiles' entries end to end

Numbers before the windows are zigzag varints, hashes eight bytes; numbers of a column are little endian and all of one width, as
narrow as what they hold. So a read sums a column without looking for where each number ends, passes over a window that has ended,
and finds the tiles in force by their place; and a fold, which nearly always changes the last tile or opens a new one, copies the
rest of each column as it is. Only tiles that an event touched exist, and those behind `newest - window - lateness` are dropped,
so the state at rest does not depend on the order of arrival; nor do its windows' bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fraud_assets.engine import fold_kernels, merge_kernels
from fraud_assets.engine import tile_kernels as kernels
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.packed_columns import WORD_BYTES
from fraud_assets.engine.packing import FULL, get_number
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints
from fraud_assets.features.layout import Acc, AccSpec, Unit
from fraud_assets.features.windows import Window

# Kernels load numbers in words, so as many bytes must be there behind a state.
BEHIND = bytes(WORD_BYTES)
# Room for the topic-partitions of a state's position: every partition of every topic it could see.
MAX_POSITIONS = 4096
# Words of one tile or profile version that a kernel sets aside; above the widest row of fields.
SCRATCH_WORDS = 256
# More room than a state takes for what folding adds to it; more than that is made where it does not do.
FOLD_ROOM = 1 << 10


class BadState(ValueError):
    """Bytes that are no state of this group: another format version, or torn."""


@dataclass(frozen=True)
class Folded:
    """packed: the new states, in the order given. applied: (n_rows,) which rows were above P."""

    packed: list[bytes]
    applied: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class UnitState:
    """One view's part: newest event time, ms, or None; tiles: window label to {tile number: its accumulators' words}."""

    newest: int | None
    tiles: dict[str, dict[int, tuple[int, ...]]]


class StateEngine:
    """Folds and merges states of one group; holds scratch memory, so one per thread."""

    def __init__(self, plan: EnginePlan, group: GroupPlan) -> None:
        self.plan = plan
        self.group = group
        self._range = (group.first_segment, group.end_segment)
        windows = [plan.windows[w] for s in range(*self._range) for w in self._windows(s)]
        specs = [spec for part in group.group.segments for accs in part.windows.values() for spec in accs.values()]
        self._widest = max(int(window[2]) for window in windows)
        self._max_tiles = [self._tile_limit(s, w) for s in range(*self._range) for w in self._windows(s)]
        self._tiles = np.empty(1 << 12, np.int64)
        self._out = np.empty(1 << 16, np.uint8)
        self._head = np.empty(1 + 2 * MAX_POSITIONS + kernels.RECENT, np.int64)
        self._scratch = np.empty(max(SCRATCH_WORDS, max(spec.width for spec in specs)), np.int64)

    def _windows(self, segment: int) -> range:
        return range(int(self.plan.segments[segment, 2]), int(self.plan.segments[segment, 3]))

    def _tile_limit(self, segment: int, window: int) -> int:
        length, tile_ms = int(self.plan.windows[window, 0]), int(self.plan.windows[window, 1])
        return 1 if tile_ms == 0 else (length + int(self.plan.segments[segment, 1])) // tile_ms + 2

    def fold(self, packed: bytes | None, rows: Ints) -> Folded:
        """Fold rows (n, row_width), in delivery order, into one state (None for a new entity)."""
        return self.fold_many([packed], rows, np.array([0, len(rows)], np.int64))

    def fold_many(self, packed: Sequence[bytes | None], rows: Ints, row_starts: Ints) -> Folded:
        """Fold the rows of many entities at once.

        packed: the state of each, None for a new entity. rows: (n, row_width), entity after entity,
        each in delivery order. row_starts: (n_entities + 1,) where each entity's rows begin.
        A row at or below the state's position of its topic and partition changes nothing.
        Raises BadState, naming the entity by its place, if one of `packed` is not a state of this format.
        """
        if rows.ndim != 2 or rows.shape[1] != self.group.row_width:
            raise ValueError(f"rows of {self.group.name} have {self.group.row_width} columns, got shape {rows.shape}.")
        held = [state or b"" for state in packed]
        starts = np.cumsum([0, *map(len, held)])
        raw = np.frombuffer(b"".join([*held, BEHIND]), np.uint8)
        self._reserve(int(starts[-1]) + len(packed) * FOLD_ROOM, len(rows))
        applied = np.zeros(len(rows), np.bool_)
        out_starts, done = np.zeros(len(starts), np.int64), 0
        while done < len(packed):
            done, why = fold_kernels.fold_states(
                self.plan.segments, self.plan.windows, self.plan.accs, self.plan.scored, *self._range, raw, starts, done, rows,
                row_starts, self._head, self._tiles, self._scratch, self._out, out_starts, applied,
            )  # fmt: skip
            if why == FULL:
                self._enlarge(int(out_starts[done]))
            elif why < 0:
                raise self._bad(packed[done], done)
        whole = self._out[: out_starts[-1]].tobytes()
        ends = out_starts.tolist()
        return Folded([whole[a:b] for a, b in pairwise(ends)], applied)

    def merge(self, one: bytes, other: bytes) -> bytes:
        """One state of two disjoint histories of an entity (Spark partitions, split backfills). Raises BadState."""
        self._reserve(len(one) + len(other) + FOLD_ROOM, max(self._max_tiles))
        others, size = np.empty_like(self._tiles), FULL
        while size == FULL:
            size = merge_kernels.merge_states(
                self.plan.segments, self.plan.windows, self.plan.accs, *self._range, _raw(one), _raw(other),
                self._head, self._head.copy(), self._head.copy(), self._tiles, others, self._scratch, self._out,
            )  # fmt: skip
            if size == FULL:
                self._enlarge(0)
        if size < 0:
            raise self._bad(one, 0)
        return self._out[:size].tobytes()

    def position(self, packed: bytes) -> dict[str, int]:
        """The log position P: `<topic>/<partition>` to the last applied offset. Raises BadState."""
        self._read_head(packed)
        head = self._head[: 1 + 2 * int(self._head[0])].tolist()
        try:
            return {self.plan.topic_name(head[k]): head[k + 1] for k in range(1, len(head), 2)}
        except LookupError:
            raise self._bad(packed, 0) from None

    def at_rest(self, packed: bytes) -> tuple[UnitState, ...]:
        """What parity at rest compares: newest and tiles of each unit; P, ids and counters tell the order and are left out."""
        self._reserve(0, 0)
        raw, at = _raw(packed), self._read_head(packed)
        newest: dict[int, int | None] = {}
        tiles: dict[int, list[list[int]]] = {}
        for segment in range(*self._range):
            at = get_number(raw, get_number(raw, at, self._scratch, 0), self._scratch, 1)
            newest[segment] = None if self._scratch[0] == NULL else int(self._scratch[0])
            for window in self._windows(segment):
                at, tiles[window] = self._tiles_of(raw, at, window)
                if at < 0:
                    raise self._bad(packed, 0)
        if at != len(packed):
            raise self._bad(packed, 0)
        return tuple(
            UnitState(
                newest[int(self.plan.units[number, 3])],
                {window.label: self._words_of(unit, window, tiles) for window in unit.windows},
            )
            for number, unit in enumerate(self.group.group.units, start=self.group.first_unit)
        )

    def _tiles_of(self, raw: npt.NDArray[np.uint8], at: int, window: int) -> tuple[int, list[list[int]]]:
        """(next place or TORN, every tile of a packed window, decoded)."""
        _, _, stride, first_acc, end_acc, columns = self.plan.windows[window].tolist()
        count, at = kernels.get_window(
            self.plan.accs, first_acc, end_acc, raw, at, columns, kernels.NO_FLOOR, self._tiles, stride
        )
        return at, self._tiles[: count * stride].reshape(count, stride).tolist()

    def _words_of(self, unit: Unit, window: Window, tiles: Mapping[int, list[list[int]]]) -> dict[int, tuple[int, ...]]:
        """The words of a unit's own accumulators in each tile of one of its windows."""
        specs = list(unit.windows[window].values())
        places = [self.plan.place(unit, window, spec) for spec in specs]
        return {
            tile[0]: tuple(
                word
                for spec, (_, place) in zip(specs, places, strict=True)
                for word in tile[place : place + _used(spec, tile[place])]
            )
            for tile in tiles[places[0][0]]
        }

    def _read_head(self, packed: bytes) -> int:
        at = int(kernels.get_head(_raw(packed), self._head))
        if at < 0 or not packed:
            raise self._bad(packed, 0)
        return at

    def _bad(self, packed: bytes | None, place: int) -> BadState:
        if packed and packed[0] != kernels.FORMAT_VERSION:
            return BadState(
                f"BadState: state {place} of {self.group.name} has format {packed[0]}, this engine reads {kernels.FORMAT_VERSION}."
                " Rebuild the online store from a snapshot."
            )
        return BadState(
            f"BadState: state {place} of {self.group.name} ({len(packed or b'')} bytes) is torn or of other views."
        )

    def _enlarge(self, used: int) -> None:
        """Twice the room, whose first bytes are those `used` already."""
        out = np.empty(2 * len(self._out), np.uint8)
        out[:used] = self._out[:used]
        self._out = out

    def _reserve(self, size: int, rows: int) -> None:
        """Room for states of about that size, and for the tiles of one window with so many more than can be in force."""
        if len(self._out) < size:
            self._out = np.empty(2 * size, np.uint8)
        tiles = self._widest * (max(self._max_tiles) + rows + 1)
        if len(self._tiles) < tiles:
            self._tiles = np.empty(2 * tiles, np.int64)


def _raw(packed: bytes) -> npt.NDArray[np.uint8]:
    """A state as the kernels take it, and what they may load behind it."""
    return np.frombuffer(packed + BEHIND, np.uint8)[: len(packed)]


def _used(spec: AccSpec, held: int) -> int:
    """Words of an accumulator that mean something; a set's tail does not."""
    match spec.acc:
        case Acc.DISTINCT:
            return 1 + min(held, spec.cap)
        case Acc.MODE:
            return 1 + 2 * min(held, spec.cap)
        case Acc.LAST:
            return 6 if held else 1
        case Acc.PROFILE:
            return 1 + held * (3 + len(spec.inputs))
        case _:
            return spec.width
