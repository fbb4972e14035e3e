"""A crew that watches what becomes of its purchases and changes its ways: the decisions of a run are all that it knows."""

from collections import deque
from dataclasses import dataclass, field

from simulator.results import DENY, Move
from simulator.scenarios.scenario import Adversary


@dataclass
class Watcher:
    """At work in one way at a time; `moves` are its changes. pause_s: how long it lies low after one that was forced."""

    plan: Adversary
    pause_s: float
    moves: list[Move] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._way = 0
        self._quiet_until_s = 0.0
        self._seen: deque[bool] = deque(maxlen=2 * self.plan.window)

    def sends(self, way: int, at_s: float) -> bool:
        """Whether a purchase that was planned for one of its ways is made, at that second of the run."""
        return way == self._way and at_s >= self._quiet_until_s

    def saw(self, way: int, decision: str, at_s: float) -> None:
        """An answer; one to a way that it has left is old news."""
        if way != self._way:
            return
        self._seen.append(decision == DENY)
        recent = list(self._seen)[-self.plan.window :]
        if (
            len(recent) == self.plan.window
            and sum(recent) >= self.plan.refused
            and way + 1 < len(self.plan.camouflages)
        ):
            self._quiet_until_s = at_s + self.pause_s
            self._turn_to(way + 1, f"{sum(recent)} of its last {len(recent)} purchases were denied", at_s)
        elif len(self._seen) == self._seen.maxlen and not any(self._seen) and way > 0:
            self._turn_to(way - 1, f"none of its last {len(self._seen)} purchases was denied", at_s)

    def _turn_to(self, way: int, why: str, at_s: float) -> None:
        self._way = way
        self._seen.clear()
        self.moves.append(Move(at_s=round(at_s, 3), camouflage=self.plan.camouflages[way], why=why))
