"""Guard rails: which prices may be recommended at all, and which rail forbids the others. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from fraud_assets.contracts.prices import Rail


class Rails(NamedTuple):
    """floor_minor, cap_minor: the lowest and highest price, both allowed. max_change: of the price now, as a share of it."""

    floor_minor: int
    cap_minor: int
    max_change: float

    def forbid(self, price_minor: int, current_minor: int | None) -> list[Rail]:
        """The rails that a price would break; none for one that may be. current_minor: None where nobody was asked one yet."""
        found = []
        if price_minor < self.floor_minor:
            found.append(Rail.FLOOR)
        if price_minor > self.cap_minor:
            found.append(Rail.CAP)
        if current_minor is not None and abs(price_minor - current_minor) > self.max_change * current_minor:
            found.append(Rail.MAX_CHANGE)
        return found

    def kept(self, current_minor: int) -> tuple[int, list[Rail]]:
        """The price now, moved to floor or cap if it is beyond, whatever change that is; and the rail that moved it."""
        if current_minor < self.floor_minor:
            return self.floor_minor, [Rail.FLOOR]
        if current_minor > self.cap_minor:
            return self.cap_minor, [Rail.CAP]
        return current_minor, []


def prices_of(base_minor: int, multipliers: Sequence[float], step_minor: int) -> list[int]:
    """Of each multiplier: its price, to the nearest step."""
    return [max(round(base_minor * one / step_minor), 1) * step_minor for one in multipliers]
