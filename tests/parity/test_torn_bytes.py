"""A state's bytes come from a store that others can write to: any bytes are refused or decoded, never trusted.

Kernels do not check their indices, so every array they write to is put between sentinels here, and
exactly as long as the engine asked for.
"""

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.engine.plan import WIN_COLUMNS, Ints
from fraud_assets.engine.request import RequestReader
from fraud_assets.engine.state import MAX_POSITIONS, BadState, StateEngine
from fraud_assets.engine.tile_kernels import FORMAT_VERSION, RECENT
from fraud_assets.engine.window_kernels import COUNT_BYTES, HEAD_BYTES, LENGTH_BYTES, MOST_TILES
from fraud_assets.features.layout import Acc, AccSpec
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import Source
from fraud_assets.features.windows import DAY_MS
from tests.domains.deals import DEALS, PINGS, SIGNED, TRAITS, Deal, Event, Flavour, Ping, Trait, Verdict
from tests.parity import tally
from tests.parity.executions import Reader, Stream
from tests.parity.strategies import ARRIVAL_START_MS, Logged

SENTINEL, GUARD = 0x5A, 4096
VERSION = bytes([FORMAT_VERSION])


class Sentinels:
    """Arrays that lie between sentinels."""

    def __init__(self) -> None:
        self._whole: dict[str, tuple[np.ndarray, bytes]] = {}

    def between(self, name: str, size: int, dtype: npt.DTypeLike) -> np.ndarray:
        assert self.untouched
        whole: np.ndarray = np.full(size + 2 * GUARD, SENTINEL, dtype)
        self._whole[name] = whole, whole[:GUARD].tobytes()
        return whole[GUARD : GUARD + size]

    def instead_of(self, name: str, array: np.ndarray) -> np.ndarray:
        return self.between(name, len(array), array.dtype)

    @property
    def untouched(self) -> bool:
        """Every sentinel is what it was."""
        return all(whole[:GUARD].tobytes() == edge == whole[-GUARD:].tobytes() for whole, edge in self._whole.values())


def guarded_engine(engine: StateEngine) -> Sentinels:
    """An engine that folds and merges between sentinels, in arrays as long as it asks for."""
    found = Sentinels()

    def enlarge(used: int) -> None:
        before = engine._out
        engine._out = found.between("out", 2 * len(before), np.uint8)
        engine._out[:used] = before[:used]

    def reserve(size: int, rows: int) -> None:
        engine._out = found.between("out", size, np.uint8)
        engine._tiles = found.between("tiles", engine._widest * (max(engine._max_tiles) + rows + 1), np.int64)

    engine._head = found.instead_of("head", engine._head)
    engine._scratch = found.instead_of("scratch", engine._scratch)
    engine._reserve = reserve  # type: ignore[method-assign]  # no growth beyond what is asked for
    engine._enlarge = enlarge  # type: ignore[method-assign]
    return found


def guarded_reader(reader: RequestReader) -> Sentinels:
    """A reader that reads between sentinels."""
    found = Sentinels()
    head, *rest = (found.instead_of(f"scratch {n}", array) for n, array in enumerate(reader._scratch))
    reader._scratch = (head, *rest)
    reader._values = found.instead_of("values", reader._values)
    return found


class Target:
    """Real states of one world, and everything the engine does with a state."""

    def __init__(self, registry: Registry) -> None:
        self.stream = Stream(registry, busy_log())
        order = list(range(len(self.stream.log)))
        self.stream.fold(order[:-12])
        self.reader = Reader(self.stream.plan)
        self.owners = [("actor", "a0"), ("pair", "a0|p0")]
        self.guards = [*map(guarded_engine, self.stream.engines.values()), guarded_reader(self.reader.reader)]
        self.rows: dict[str, Ints] = {}
        for name, key in self.owners:
            late = [
                row
                for index, (owner, row) in self.stream.rows[name].items()
                if owner == key and index >= len(order) - 12
            ]
            self.rows[name] = np.stack(late)

    def state(self, owner: tuple[str, str]) -> bytes:
        return self.stream.states[owner]

    @property
    def nothing_written_elsewhere(self) -> bool:
        return all(guard.untouched for guard in self.guards)

    def attack(self, owner: tuple[str, str], packed: bytes) -> int:
        """Run everything on `packed`; returns how many calls took it for a state. None may write elsewhere."""
        name, good = owner[0], self.state(owner)
        engine, groups = self.stream.engines[name], self.reader.service.groups
        states = [packed if group.name == name else None for group in groups]
        calls: Sequence[Callable[[], object]] = (
            lambda: engine.at_rest(engine.fold(packed, self.rows[name]).packed[0]),
            lambda: engine.at_rest(engine.merge(packed, good)),
            lambda: engine.at_rest(engine.merge(good, packed)),
            lambda: engine.at_rest(engine.merge(packed, packed)),
            lambda: engine.at_rest(packed),
            lambda: engine.position(packed),
            lambda: self.reader.read(states, ARRIVAL_START_MS),
        )
        accepted = 0
        for call in calls:
            try:
                call()
            except BadState:
                pass
            else:
                accepted += 1
        assert self.nothing_written_elsewhere  # arrays that a call replaced were looked at then
        tally.count("attacks on states", len(calls))
        return accepted


def busy_log() -> list[Logged]:
    """80 events of two entities over every source, enough to overflow every capped set."""
    rng = random.Random(7)
    found: list[Logged] = []
    for n in range(80):
        time = ARRIVAL_START_MS + n * 90_000 - rng.choice([0, 0, 400_000])
        place, flavour = f"p{rng.choice([0, 0, n])}", rng.choice(list(Flavour))
        events: list[tuple[Source, Event]] = [
            (DEALS, Deal(
                event_time_ms=time, deal_id=f"d{n}", actor_id="a0", place_id=place, size=rng.randint(-9, 2**40),
                extra=None, flavour=flavour, mood=None, flag=True,
            )),
            (PINGS, Ping(event_time_ms=time, ping_id=f"i{n}", actor_id="a0", place_id=place, level=n, flavour=flavour)),
            (SIGNED, Verdict(
                event_time_ms=time, fact_id=f"f{n}", actor_id="a0", place_id=place, size=n, is_bad=bool(n % 3),
                sign=rng.choice([1, 1, -1]),
            )),
            (TRAITS, Trait(event_time_ms=time, trait_id=f"t{n}", actor_id="a0", since_ms=time - n, level=n, flag=False)),
        ]  # fmt: skip
        source, event = rng.choice(events)
        found.append(Logged(source, event, str(source.topic), 0, n, time))
    return found


@pytest.fixture(scope="module")
def target(every_op: Registry) -> Target:
    return Target(every_op)


def test_a_state_survives_packing(target: Target) -> None:
    """Folding nothing into a state gives the same bytes: what was read is what was written."""
    for owner in target.owners:
        engine = target.stream.engines[owner[0]]
        nothing = np.empty((0, engine.group.row_width), np.int64)
        assert engine.fold(target.state(owner), nothing).packed == [target.state(owner)]
        assert target.attack(owner, target.state(owner)) == 7


def test_every_truncation_is_refused(target: Target) -> None:
    """A state that lost its end is torn wherever it was cut."""
    for owner in target.owners:
        whole = target.state(owner)
        for size in range(1, len(whole)):
            assert target.attack(owner, whole[:size]) <= 1, size  # `position` reads the head alone


def test_bytes_after_the_end_are_refused(target: Target) -> None:
    for owner in target.owners:
        assert target.attack(owner, target.state(owner) + b"\0") == 1


def test_a_state_of_another_group_or_format_is_refused(target: Target) -> None:
    """The message says which format the bytes have and which is read."""
    actor, pair = (target.state(owner) for owner in target.owners)
    assert target.attack(("pair", "a0|p0"), actor) <= 1
    assert target.attack(("actor", "a0"), pair) <= 1
    with pytest.raises(BadState, match=r"has format 9, this engine reads \d"):
        target.stream.engines["actor"].at_rest(bytes([9]) + actor[1:])


@tally.examples(150)
@given(data=st.data())
def test_flipped_bytes_write_nowhere_else_and_end(target: Target, data: st.DataObject) -> None:
    """Random bytes at random places: refused or taken for another state, within bounds and without a hang."""
    owner = data.draw(st.sampled_from(target.owners))
    broken = bytearray(target.state(owner))
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(1, len(broken) - 1), st.integers(0, 255)), min_size=1, max_size=6)
    ):
        broken[place] = byte
    target.attack(owner, bytes(broken))

    assert target.nothing_written_elsewhere


@tally.examples(150)
@given(data=st.data())
def test_hostile_numbers_write_nowhere_else_and_end(target: Target, data: st.DataObject) -> None:
    """Varints of any length, counts at the ends of int64 first of all, spliced in anywhere."""
    owner = data.draw(st.sampled_from(target.owners))
    whole = target.state(owner)
    place = data.draw(st.integers(1, len(whole)))
    numbers = st.sampled_from([2**63 - 1, -(2**63), 2**62, 2**61, -1, 2**32, 4096, 4097, 65, 17, 5]) | st.integers(
        0, 300
    )
    spliced = b"".join(zigzag(number) for number in data.draw(st.lists(numbers, min_size=1, max_size=8)))
    cut = data.draw(st.integers(0, 12))
    target.attack(owner, whole[:place] + spliced + whole[place + cut :])

    assert target.nothing_written_elsewhere


@pytest.mark.parametrize("count", [2**62, 2**62 + 1, 2**61, 2**63 - 1, -1, MAX_POSITIONS + 1])
def test_a_count_of_positions_beyond_the_head_is_refused(target: Target, count: int) -> None:
    """2**62 pairs doubled overflow into 0 pairs, and their ids would be written far away."""
    assert target.attack(("actor", "a0"), VERSION + zigzag(count) + bytes(200)) == 0


@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x99, 0x10])
def test_any_byte_may_be_another(target: Target, byte: int) -> None:
    """Numbers of tiles, lengths, widths above eight, columns that end elsewhere, counts and tile numbers: each byte in its turn."""
    for owner in target.owners:
        whole = target.state(owner)
        for place in range(head_size(whole), len(whole)):
            target.attack(owner, whole[:place] + bytes([byte]) + whole[place + 1 :])


def test_every_width_may_be_another(target: Target) -> None:
    """The columns behind it are then elsewhere: whatever they say, they end where the window does or it is refused."""
    owner = ("actor", "a0")
    whole = flooded(target.stream.engines["actor"], 3, dict.fromkeys((Acc.DISTINCT, Acc.MODE, Acc.PROFILE), 0))
    assert target.attack(owner, whole) == 7
    for place in range(head_size(whole), len(whole)):
        for width in range(16):
            target.attack(owner, whole[:place] + bytes([width | width << 4]) + whole[place + 1 :])


@pytest.mark.parametrize("width", range(9, 16))
def test_a_width_above_eight_is_refused(target: Target, width: int) -> None:
    """The first window's tile numbers and each of its columns; a load of them would begin in one and end in another."""
    engine, owner = target.stream.engines["actor"], ("actor", "a0")
    whole = flooded(engine, 3)
    widths = first_window(whole) + HEAD_BYTES
    for column in range(2 + int(engine.plan.windows[engine._windows(engine.group.first_segment)[0], WIN_COLUMNS])):
        broken = bytearray(whole + bytes(64))
        shift = 4 * (column & 1)
        broken[widths + column // 2] &= 0xF0 >> shift
        broken[widths + column // 2] |= width << shift
        assert target.attack(owner, bytes(broken)) == 1, column  # `position` reads the head alone


@pytest.mark.parametrize("by", [-1, 1, 2**16, 2**24 - 1])
def test_a_window_that_ends_elsewhere_than_its_columns_is_refused(target: Target, by: int) -> None:
    """Were it longer, the next one would begin where nobody wrote it."""
    whole = flooded(target.stream.engines["actor"], 3)
    at = first_window(whole) + COUNT_BYTES
    length = int.from_bytes(whole[at : at + LENGTH_BYTES], "little") + by
    broken = whole[:at] + (length % 2**24).to_bytes(LENGTH_BYTES, "little") + whole[at + LENGTH_BYTES :]
    assert target.attack(("actor", "a0"), broken) == 1
    assert target.attack(("actor", "a0"), broken + bytes(by % 2**17)) == 1


@pytest.mark.parametrize("count", [5, MOST_TILES])
def test_a_count_of_tiles_that_are_not_there_is_refused(target: Target, count: int) -> None:
    """Their numbers would be those of other columns. The head is whole, so a position is read."""
    whole = flooded(target.stream.engines["actor"], 3)
    at = first_window(whole)
    broken = whole[:at] + count.to_bytes(COUNT_BYTES, "little") + whole[at + COUNT_BYTES :]
    assert target.attack(("actor", "a0"), broken) == 1


def test_a_full_position_refuses_another_partition(target: Target) -> None:
    """No log of ours has so many partitions, but bytes can say so; the head has room for no more."""
    engine, whole = target.stream.engines["actor"], target.state(("actor", "a0"))
    body = whole[head_size(whole) :]
    full = VERSION + zigzag(MAX_POSITIONS) + b"".join(zigzag(2**40 + n) + b"\0" for n in range(MAX_POSITIONS))
    packed = full + bytes(8 * RECENT) + body

    # Whole, and read as such, until a fold or a merge would add to it.
    assert len(engine.at_rest(packed)) == len(engine.group.group.units)
    with pytest.raises(BadState):
        engine.fold(packed, target.rows["actor"])
    assert target.attack(("actor", "a0"), packed) == 2  # at rest, and read


@pytest.mark.parametrize("name", ["actor", "pair"])
def test_more_tiles_than_a_window_can_hold_are_refused(target: Target, name: str) -> None:
    """Each is a good tile and none has expired; a fold and a merge have no room to decode so many."""
    engine = target.stream.engines[name]
    owner = next(owner for owner in target.owners if owner[0] == name)

    assert target.attack(owner, flooded(engine, 2)) == 7
    assert target.attack(owner, flooded(engine, 2 * max(engine._max_tiles))) <= 3


@pytest.mark.parametrize("step", [0, -1])
def test_tiles_that_do_not_ascend_are_refused_by_a_fold(target: Target, step: int) -> None:
    """What comes before a tile would have to be looked for among all of them."""
    engine, ahead_ms = target.stream.engines["actor"], ARRIVAL_START_MS + DAY_MS

    engine.fold(flooded(engine, 3, first_ms=ahead_ms), target.rows["actor"])
    with pytest.raises(BadState):
        engine.fold(flooded(engine, 3, first_ms=ahead_ms, step=step), target.rows["actor"])
    target.attack(("actor", "a0"), flooded(engine, 3, first_ms=ahead_ms, step=step))


@pytest.mark.parametrize("acc", [Acc.DISTINCT, Acc.MODE, Acc.PROFILE], ids=lambda acc: acc.name)
def test_an_accumulator_that_holds_more_than_it_has_room_for_is_refused(target: Target, acc: Acc) -> None:
    """All it says it holds is there; one more than room is refused before it is written anywhere."""
    engine = target.stream.engines["actor"]

    assert target.attack(("actor", "a0"), flooded(engine, 2, {acc: 0})) == 7
    assert target.attack(("actor", "a0"), flooded(engine, 2, {acc: 1})) == 1  # `position` reads the head alone


def flooded(
    engine: StateEngine,
    tiles: int,
    beyond: Mapping[Acc, int] | None = None,
    first_ms: int = ARRIVAL_START_MS,
    step: int = 1,
) -> bytes:
    """A state that heard of no event and holds that many tiles in each window, empty ones, from `first_ms` on.

    beyond: accumulators that are full instead, and by how many too full. step: from tile to tile.
    """
    found = VERSION + zigzag(0) + bytes(8 * RECENT)
    for segment in engine.group.group.segments:
        found += zigzag(ARRIVAL_START_MS) + zigzag(0)
        for window, specs in segment.windows.items():
            count = 1 if window.is_lifetime else tiles
            first = 0 if window.is_lifetime else first_ms // window.tile_ms
            columns = [[first], [step * n for n in range(count)]]
            for spec in specs.values():
                columns += content(spec, count, (beyond or {}).get(spec.acc))
            found += window_of(count, columns)
    return found


def window_of(count: int, columns: Sequence[Sequence[int]]) -> bytes:
    """A packed window: what each column holds is given, its width is found."""
    widths = [
        max((1 + (n if n >= 0 else ~n).bit_length() + 7) // 8 if n else 0 for n in (*column, 0)) for column in columns
    ]
    pairs = zip(widths[::2], [*widths[1::2], 0], strict=False)
    body = bytes(low | high << 4 for low, high in pairs)
    for width, column in zip(widths, columns, strict=True):
        body += b"".join(n.to_bytes(width, "little", signed=True) for n in column)
    return count.to_bytes(COUNT_BYTES, "little") + len(body).to_bytes(LENGTH_BYTES, "little") + body


def content(spec: AccSpec, tiles: int, beyond: int | None) -> list[list[int]]:
    """An accumulator's columns: empty, or full and that many more. Sets hold one more than their cap, as a sign of more."""
    counts, entries = [0] * tiles, range(0)
    if beyond is not None:
        counts = [spec.most + beyond + (spec.acc is not Acc.PROFILE)] * tiles
        entries = range(spec.most + (beyond if spec.acc is Acc.PROFILE else 0))
    parts: list[list[int]] = [[] for _ in range(spec.columns - 1)]
    if spec.acc is Acc.SQUARES:
        parts = [[0] * tiles]
    elif entries:
        parts[0] = [n << 40 if spec.acc is Acc.DISTINCT else n for n in entries] * tiles
        parts[1:] = [[1] * (len(entries) * tiles) for _ in parts[1:]]
    return [counts, *parts]


def first_window(packed: bytes) -> int:
    """Where the first window begins in a state of `flooded`."""
    return head_size(packed) + len(zigzag(ARRIVAL_START_MS) + zigzag(0))


def head_size(packed: bytes) -> int:
    """Bytes before the first unit: version, positions, recent ids."""
    at, numbers = 1, 1
    while numbers:
        if at == 1:
            numbers = 1 + 2 * (packed[1] >> 1)
        while packed[at] & 128:
            at += 1
        at, numbers = at + 1, numbers - 1
    return at + 8 * RECENT


def zigzag(number: int) -> bytes:
    """The varint that packing writes for an int64."""
    z, found = ((number << 1) ^ (number >> 63)) & (2**64 - 1), []
    while z >= 128:
        found.append(z & 127 | 128)
        z >>= 7
    return bytes([*found, z])
