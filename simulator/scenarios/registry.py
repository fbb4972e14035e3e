"""Scenarios by name."""

from simulator.scenarios import card_testing, ghost_events, normal_traffic
from simulator.scenarios.scenario import Scenario

SCENARIOS = {
    scenario.name: scenario for scenario in (normal_traffic.SCENARIO, card_testing.SCENARIO, ghost_events.SCENARIO)
}


class UnknownScenario(KeyError):
    """No scenario of that name."""

    def __str__(self) -> str:
        return str(self.args[0])


def scenario_named(name: str) -> Scenario:
    """Raises UnknownScenario, which lists the known ones."""
    if name not in SCENARIOS:
        raise UnknownScenario(f"UnknownScenario: {name!r}. Known: {', '.join(sorted(SCENARIOS))}.")
    return SCENARIOS[name]
