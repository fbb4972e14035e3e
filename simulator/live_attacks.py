"""The attacks of a live run: the everyday fraud, and over it the scenario's own, squeezed into minutes."""

from dataclasses import dataclass, replace

import numpy as np

from simulator.build import World
from simulator.campaigns import Attack, Underworld, Wave
from simulator.card_testing import CardTesting, card_testing
from simulator.ghost_events import GhostEvents, ghost_events
from simulator.kinds import Kind
from simulator.market import Market
from simulator.plan import CAMPAIGNS, everyday_waves, wave_of
from simulator.results import AttackBand
from simulator.scenarios.scenario import Adversary, GhostSale, Raid, Scenario, TestingBurst


@dataclass(frozen=True)
class Window:
    """When a run is, and how many purchases it has in the mean."""

    start_ms: int
    duration_ms: int
    expected: float

    def at(self, share: float) -> int:
        """The instant after that share of the run."""
        return self.start_ms + int(share * self.duration_ms)

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.duration_ms


@dataclass(frozen=True)
class Planned:
    """An attack, whose it is, and what the report calls its stretch; `way`: of an adversary, else -1."""

    attack: Attack
    is_own: bool = True
    way: int = -1
    kind: Kind | None = None
    span: tuple[int, int] = (0, 0)

    def band(self, window: Window) -> AttackBand | None:
        if self.kind is None or self.way > 0:
            return None
        start, end = ((at - window.start_ms) / 1000 for at in self.span)
        return AttackBand(
            name=str(self.kind), kind=str(self.kind), start_s=start, end_s=min(end, window.duration_ms / 1000)
        )


def planned_attacks(
    world: World, market: Market, scenario: Scenario, window: Window, rng: np.random.Generator
) -> list[Planned]:
    """The everyday fraud at the shares of the world, and over it the scenario's own."""
    under = Underworld.of(world)
    planned = [
        Planned(CAMPAIGNS[kind](under, market, wave, rng), is_own=False)
        for kind, wave in everyday_waves(world.spec, window.start_ms, window.duration_ms, window.expected, rng)
    ]
    for burst in scenario.bursts:
        planned.append(_burst(under, market, burst, window, rng))
    for sale in scenario.ghosts:
        plan = _on_sale(sale, window)
        ghosts = ghost_events(under, plan, rng)
        planned.append(Planned(ghosts, kind=Kind.GHOST_EVENTS, span=(plan.start_ms, window.end_ms)))
    planned.extend(_raid(under, market, raid, window, rng) for raid in scenario.raids)
    if scenario.adversary is not None:
        planned.extend(
            _burst(under, market, burst, window, rng, way) for way, burst in enumerate(_ways(scenario.adversary))
        )
    return planned


def _burst(
    under: Underworld, market: Market, burst: TestingBurst, window: Window, rng: np.random.Generator, way: int = -1
) -> Planned:
    plan = _squeezed(burst, window)
    span = plan.start_ms, plan.start_ms + plan.duration_ms
    return Planned(card_testing(under, market, plan, rng), way=way, kind=Kind.CARD_TESTING, span=span)


def _raid(under: Underworld, market: Market, raid: Raid, window: Window, rng: np.random.Generator) -> Planned:
    start, length_ms = window.at(raid.start), max(1, int(raid.length * window.duration_ms))
    wave = wave_of(raid.kind, start, length_ms, max(1, round(raid.share * window.expected)))
    if raid.camouflage is not None:
        wave = replace(wave, camouflage=raid.camouflage)
    attack = CAMPAIGNS[raid.kind](under, market, wave, rng)
    return Planned(attack, kind=raid.kind, span=(start, start + length_ms))


def _ways(adversary: Adversary) -> list[TestingBurst]:
    """Each of its ways for as long as it is there: the more careful, the fewer purchases."""
    return [
        TestingBurst(
            start=adversary.start,
            length=adversary.length,
            share=adversary.share * (1 - 0.6 * camouflage),
            camouflage=camouflage,
        )
        for camouflage in adversary.camouflages
    ]


def _squeezed(burst: TestingBurst, window: Window) -> CardTesting:
    length_ms = int(burst.length * window.duration_ms)
    tests = max(10, round(burst.share * window.expected))
    wave = Wave(window.at(burst.start), length_ms, tests, burst.camouflage)
    return CardTesting.of(wave, burst.dead_cards, burst.cash_out_delay / burst.length)


def _on_sale(sale: GhostSale, window: Window) -> GhostEvents:
    after_ms = min(int(sale.after_s * 1000), window.duration_ms - 1)
    left_ms = window.duration_ms - after_ms
    share = sale.share * left_ms / window.duration_ms
    return GhostEvents(window.start_ms + after_ms, left_ms, max(1, round(share * window.expected)), sale.events)
