"""Which idea each feature of a service comes of, as its declaration says, and the vectors that lack some of them.

Nothing here knows a feature's name: a view that is added falls to its idea by its source and its entity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fraud_assets.features.aggregates import Aggregate
from fraud_assets.features.sources import LabelFactSource, ProfileSource
from fraud_assets.features.views import FeatureService, RequestFeature


class Idea(NamedTuple):
    """rank: the simplest first."""

    rank: int
    name: str


FIELDS = Idea(0, "fields of the payment")
ARITHMETIC = Idea(1, "arithmetic on them")
COMPARISONS = Idea(6, "comparisons with what was read")


@dataclass(frozen=True)
class Arm:
    """A vector to measure. idea: the newest of those that are in it, or, if `without`, the one that is not. columns: places in the service's vector."""

    idea: str
    without: bool
    columns: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{'without' if self.without else 'with'} {self.idea}"


def needs_of(service: FeatureService) -> Mapping[str, frozenset[Idea]]:
    """Every feature, hidden ones too, to the ideas that it cannot be without: its own and those of what it reads."""
    found: dict[str, frozenset[Idea]] = {}
    for view in service.views:
        for item in view.resolved:
            found |= {item.feature_name(window): frozenset({_of_view(item)}) for window in item.windows}
    for feature in service.request:
        read = frozenset[Idea]().union(*(found[name] for name in feature.inputs if not name.startswith("request.")))
        found[feature.name] = read | {_of_request(feature, read)}
    return found


def arms_of(service: FeatureService, names: Sequence[str]) -> list[Arm]:
    """One idea more each time, the whole at last; then the whole without each. names: of the service's vector, in order.

    A feature is there once all that it reads is, and goes with whatever of it is left out.
    """
    needs = needs_of(service)
    ideas = sorted(dict.fromkeys(idea for of in needs.values() for idea in of), key=lambda idea: idea.rank)
    arms = []
    for count, idea in enumerate(ideas, start=1):
        known = frozenset(ideas[:count])
        arms.append(Arm(idea.name, False, tuple(at for at, name in enumerate(names) if needs[name] <= known)))
    for idea in ideas:
        arms.append(Arm(idea.name, True, tuple(at for at, name in enumerate(names) if idea not in needs[name])))
    return arms


def _of_view(item: Aggregate) -> Idea:
    assert item.entity is not None  # resolved() fills it
    if isinstance(item.source, LabelFactSource):
        return Idea(5, f"labels of the {item.entity.name}")
    if isinstance(item.source, ProfileSource):
        return Idea(4, f"profile of the {item.entity.name}")
    return Idea(3, "history of pairs") if len(item.entity.keys) > 1 else Idea(2, f"history of the {item.entity.name}")


def _of_request(feature: RequestFeature, read: frozenset[Idea]) -> Idea:
    if read - {FIELDS, ARITHMETIC}:
        return COMPARISONS
    return FIELDS if feature.inputs == (f"request.{feature.name}",) else ARITHMETIC
