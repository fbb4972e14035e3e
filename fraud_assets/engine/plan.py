"""A registry compiled to flat integer arrays, which is all the kernels know of it.

One `EnginePlan` for a registry: units, segments, windows, accumulators and the inputs of every group's event
row. One `ServicePlan` for a service: which output goes to which place of the value vector.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fraud_assets.engine.kernels import ROW_INPUTS
from fraud_assets.features.language import FeatureService
from fraud_assets.features.layout import Acc, AccSpec, Input, OutSpec, RatioSpec, Segment, Unit
from fraud_assets.features.registry import Group, Registry, UnknownFeature
from fraud_assets.features.sources import Source
from fraud_assets.features.windows import Window

Ints = npt.NDArray[np.int64]

# Columns of the tables below; the kernels index them by these names.
UNIT_SOURCES, UNIT_LATENESS, UNIT_TTL, UNIT_SEGMENT = range(4)
SEG_SOURCES, SEG_LATENESS, SEG_WINDOWS, SEG_WINDOWS_END = range(4)
WIN_LENGTH, WIN_TILE, WIN_STRIDE, WIN_ACCS, WIN_ACCS_END, WIN_COLUMNS = range(6)
ACC_OP, ACC_PLACE, ACC_COLUMN, ACC_CAP, ACC_FIELDS, ACC_PARTS = range(6)

NO_TTL = -1
PARTITION_BITS = 20


@dataclass(frozen=True)
class GroupPlan:
    """One view group: its rows' inputs and its ranges of the plan's tables.

    inputs: in row order, from column ROW_INPUTS. sources: registry numbers of the sources it folds.
    """

    group: Group
    inputs: tuple[Input, ...]
    sources: tuple[Source, ...]
    first_unit: int
    end_unit: int
    first_segment: int
    end_segment: int

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def digest(self) -> str:
        return self.group.digest

    @property
    def row_width(self) -> int:
        return ROW_INPUTS + len(self.inputs)


class EnginePlan:
    """The registry as tables.

    units (n, 4), segments (n, 4), windows (n, 6), accs (n, 6): int64. A group's segments are the parts of its
    packed states; a segment's windows and a window's accumulators are consecutive, and each unit reads its
    own from its segment. Offsets of accumulators count words from the tile's first word, its number.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.sources = registry.sources
        self._source_number = {source.name: number for number, source in enumerate(self.sources)}
        units: list[list[int]] = []
        segments: list[list[int]] = []
        windows: list[list[int]] = []
        accs: list[list[int]] = []
        self._places: dict[tuple[int, str, tuple[object, ...]], tuple[int, int]] = {}
        self._unit_segment: dict[tuple[str, str], int] = {}
        groups = []
        for group in registry.groups:
            first_unit, first_segment, inputs = len(units), len(segments), _RowInputs()
            for segment in group.segments:
                for unit in segment.units:
                    self._unit_segment[(unit.view.name, group.name)] = len(segments)
                segments.append(self._add_segment(segment, len(segments), windows, accs, inputs))
            for unit in group.units:
                number = self._unit_segment[(unit.view.name, group.name)]
                ttl = NO_TTL if unit.view.ttl_ms is None else unit.view.ttl_ms
                units.append([segments[number][SEG_SOURCES], unit.view.lateness_ms, ttl, number])
            ranges = first_unit, len(units), first_segment, len(segments)
            groups.append(GroupPlan(group, tuple(inputs.found), group.sources, *ranges))
        self.groups = tuple(groups)
        self.units = _table(units, 4)
        self.segments = _table(segments, 4)
        self.windows = _table(windows, 6)
        self.accs = _table(accs, 6)

    def _add_segment(
        self, segment: Segment, number: int, windows: list[list[int]], accs: list[list[int]], inputs: "_RowInputs"
    ) -> list[int]:
        first_window = len(windows)
        for window, specs in segment.windows.items():
            place, first_acc, columns = 1, len(accs), 0
            for spec in specs.values():
                self._places[(number, window.label, spec.key())] = (len(windows), place)
                fields = len(spec.inputs) if spec.acc is Acc.PROFILE else 0
                accs.append([int(spec.acc), place, inputs.column(spec), spec.most, fields, spec.columns - 1])
                place, columns = place + spec.width, columns + spec.columns
            windows.append([window.length_ms, window.tile_ms, place, first_acc, len(accs), columns])
        mask = sum(1 << self._source_number[source.name] for source in segment.sources)
        return [mask, segment.lateness_ms, first_window, len(windows)]

    @cached_property
    def scored(self) -> int:
        """Bit mask of the sources some service scores; states remember the last ids of these."""
        names = {service.scored.name for service in self.registry.services.values()}
        return sum(1 << self._source_number[name] for name in names)

    def source_number(self, source: Source) -> int:
        """The source's place in the registry: its number in rows and in ties."""
        return self._source_number[source.name]

    def group(self, name: str) -> GroupPlan:
        for group in self.groups:
            if group.name == name:
                return group
        raise UnknownFeature(
            f"UnknownFeature: no view is about {name!r}. Known entities: {', '.join(g.name for g in self.groups)}."
        )

    def place(self, unit: Unit, window: Window, spec: AccSpec) -> tuple[int, int]:
        """(window number, offset in its tiles) of one accumulator of a unit."""
        segment = self._unit_segment[(unit.view.name, unit.entity.name)]
        return self._places[(segment, window.label, spec.key())]

    def topic_code(self, topic: str, partition: int) -> int:
        """A (topic, partition) as the one integer that positions and rows carry."""
        if topic not in self._topic_number:
            raise UnknownFeature(
                f"UnknownFeature: no source reads topic {topic!r}. Known: {', '.join(self._topic_number)}."
            )
        return self._topic_number[topic] << PARTITION_BITS | partition

    def topic_name(self, code: int) -> str:
        """`<topic>/<partition>`, as decisions log it. Raises KeyError for a code that no topic has."""
        return f"{self._topic_names[code >> PARTITION_BITS]}/{code & ((1 << PARTITION_BITS) - 1)}"

    @cached_property
    def _topic_number(self) -> dict[str, int]:
        """Live topics and the topics imported history pretends to come from, in a fixed order."""
        return {name: number for number, name in enumerate(self.registry.topics)}

    @cached_property
    def _topic_names(self) -> dict[int, str]:
        return {number: name for name, number in self._topic_number.items()}


class _RowInputs:
    """The distinct inputs of a group's rows; a profile's are consecutive."""

    def __init__(self) -> None:
        self.found: list[Input] = []
        self._columns: dict[tuple[object, ...], int] = {}

    def column(self, spec: AccSpec) -> int:
        key = tuple(item.key() for item in spec.inputs)
        if key not in self._columns:
            self._columns[key] = ROW_INPUTS + len(self.found)
            self.found.extend(spec.inputs)
        return self._columns[key]


@dataclass(frozen=True)
class ServicePlan:
    """Where a service's values go.

    The value vector is float64: fields of the scored event, every output of the views (hidden ones
    too), then request features. `served` picks the float32 vector from it.
    """

    engine: EnginePlan
    service: FeatureService

    @cached_property
    def groups(self) -> tuple[GroupPlan, ...]:
        """Groups a request reads, in registry order; states are passed in this order."""
        wanted = {entity.name for view in self.service.views for entity in view.entities}
        return tuple(group for group in self.engine.groups if group.name in wanted)

    @cached_property
    def units(self) -> tuple[tuple[GroupPlan, int, Unit], ...]:
        """(group, unit number, unit) of each unit the service reads."""
        found = []
        for group in self.groups:
            for place, unit in enumerate(group.group.units):
                if unit.view in self.service.views:
                    found.append((group, group.first_unit + place, unit))
        return tuple(found)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Sources whose events a service's vectors depend on, by name; the scored one always."""
        found = {self.service.scored.name: self.service.scored}
        for _, _, unit in self.units:
            for source in unit.sources:
                found.setdefault(source.name, source)
        return tuple(found[name] for name in sorted(found))

    @cached_property
    def unit_names(self) -> tuple[str, ...]:
        """`<view>@<entity>` of each unit: what a decision's status codes are of."""
        return tuple(f"{unit.view.name}@{group.name}" for group, _, unit in self.units)

    @cached_property
    def scored_fields(self) -> tuple[str, ...]:
        """Fields of the scored event that some request feature reads, in contract order."""
        read = {
            name.removeprefix("request.")
            for item in self.service.request
            for name in item.inputs
            if name.startswith("request.")
        }
        return tuple(name for name in self.service.visible if name in read)

    @cached_property
    def slots(self) -> dict[str, int]:
        """Name of every value to its place in the value vector."""
        names = [f"request.{name}" for name in self.scored_fields]
        for view in self.service.views:
            for _, _, unit in self.units:
                if unit.view is view:
                    names.extend(self._qualified(unit, spec) for spec in unit.features)
        names.extend(item.name for item in self.service.request)
        return {name: place for place, name in enumerate(names)}

    @staticmethod
    def _qualified(unit: Unit, spec: OutSpec | RatioSpec) -> str:
        """Made-up parts of ratios are private to their unit."""
        return f"{unit.view.name}:{spec.name}" if spec.name.startswith("_") else spec.name

    def slot(self, unit: Unit, spec: OutSpec | RatioSpec) -> int:
        return self.slots[self._qualified(unit, spec)]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Columns of the served vector."""
        return self.engine.registry.feature_names(self.service)

    @cached_property
    def served(self) -> Ints:
        """(n_features,) places of the served features in the value vector."""
        return np.array([self.slots[name] for name in self.names], np.int64)


def _table(rows: list[list[int]], columns: int) -> Ints:
    return np.array(rows, np.int64).reshape(len(rows), columns)
