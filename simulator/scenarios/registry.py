"""Scenarios by name."""

from collections.abc import Mapping
from pathlib import Path

from simulator.scenarios import (
    adaptive,
    black_friday,
    card_testing,
    drift,
    flash_sale,
    fraud_attack,
    ghost_events,
    mix,
    normal_traffic,
    replay,
    system_degradation,
)
from simulator.scenarios.scenario import Scenario

SCENARIOS = {
    one.SCENARIO.name: one.SCENARIO
    for one in (
        normal_traffic,
        card_testing,
        flash_sale,
        fraud_attack,
        drift,
        system_degradation,
        black_friday,
        mix,
        adaptive,
        replay,
        ghost_events,
    )
}


class UnknownScenario(KeyError):
    """No scenario of that name, or not with these options; the message names the way out."""

    def __str__(self) -> str:
        return str(self.args[0])


def scenario_named(
    name: str, *, level: float | None = None, weights: Mapping[str, float] | None = None, log: Path | None = None
) -> Scenario:
    """With its options, if it takes them. Raises UnknownScenario, which lists the known ones."""
    found = _known(name)
    if log is None and found.has_log:
        raise UnknownScenario(f"UnknownScenario: {name!r} needs a --log: a file that `run --record FILE` wrote.")
    if log is not None and not found.has_log:
        raise UnknownScenario(f"UnknownScenario: {name!r} has no --log. {_those('has_log')}.")
    if level is not None and not found.has_level:
        raise UnknownScenario(f"UnknownScenario: {name!r} has no --level. {_those('has_level')}.")
    if weights and not found.has_weights:
        raise UnknownScenario(f"UnknownScenario: {name!r} has no --weight. {_those('has_weights')}.")
    if found.has_weights:
        return mix.mixed({_part(part): weight for part, weight in (weights or mix.DEFAULT).items()})
    return found if level is None else drift.at(found, level)


def _known(name: str) -> Scenario:
    if name not in SCENARIOS:
        raise UnknownScenario(f"UnknownScenario: {name!r}. Known: {', '.join(sorted(SCENARIOS))}.")
    return SCENARIOS[name]


def _part(name: str) -> Scenario:
    part = _known(name)
    if part.has_weights or part.has_log:
        raise UnknownScenario(f"UnknownScenario: {name!r} cannot be a part of a mix.")
    return part


def _those(option: str) -> str:
    return f"It is for {', '.join(name for name, one in SCENARIOS.items() if getattr(one, option))}"
