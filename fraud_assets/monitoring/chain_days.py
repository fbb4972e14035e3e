"""Which days of the lake a night reads, and what it has of the others.

Read are the days whose files are others than those that were read, those that no fold is kept of, and of the rest the ones that were
read longest ago: a share of them, so that each is read again within `reread_nights`, whatever its files look like.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from fraud_assets.contracts.chain_fold import Apart, Day, Joined, Run, join
from fraud_assets.stores.chain_days import FORMAT, ChainDays, Index, KeptDay, listed_days
from fraud_assets.stores.decision_chains import each, fold_day
from fraud_assets.stores.lake import Lake

# Folding again what the join asks for asks for no more than a second time, unless somebody writes the day meanwhile.
JOINS = 20

Heads = Mapping[str, Mapping[int, str]]


class UnsettledLake(RuntimeError):
    """Days were rewritten as often as they were read."""


class Night:
    """One night's folds of all days.

    folded: name of the index that the night before made; empty, and every day is read. Memory: the runs of all days.
    """

    def __init__(self, lake: Lake, heads: Heads, folded: str, reread_nights: int) -> None:
        self._lake, self._heads = lake, heads
        self._store = ChainDays(lake.uri)
        self._before = self._store.index(folded)
        self._folded_before = folded
        self._night = self._before.night + 1
        self._listed = listed_days(lake)
        self._kept = {day: kept for day, kept in self._before.days.items() if self._listed.get(day) == kept.files}
        self._days = dict[str, Day]()
        again = _longest_ago(self._kept, -(-len(self._listed) // reread_nights))
        for day in self._listed.keys() - again:
            self._recall(day)
        self.read_again = len(again)
        missing = sorted(self._listed.keys() - self._days.keys())
        for day in each(missing, "Reading decisions"):
            self._read(day, {})
        self.read = set(missing)

    @property
    def days(self) -> int:
        return len(self._days)

    @property
    def unchained(self) -> int:
        return sum(day.unchained for day in self._days.values())

    @property
    def newest_ms(self) -> int:
        return max((day.newest_ms for day in self._days.values()), default=0)

    def join(self) -> dict[str, Joined]:
        """Every chain that the lake has, or that a head was kept of. Days are read again where a chain must be looked into."""
        for _ in range(JOINS):
            chains = sorted({*self._heads, *(name for day in self._days.values() for name in day.runs)})
            found = {name: join(name, self._runs_of(name), self._heads.get(name)) for name in chains}
            asked: dict[str, dict[str, list[Apart]]] = defaultdict(dict)
            for name, joined in found.items():
                for day, apart in joined.apart.items():
                    asked[day][name] = apart
            if not asked:
                return found
            for day in each(sorted(asked), "Looking into days"):
                self._read(day, _both(self._days[day].apart, asked[day]))
                self.read.add(day)
        raise UnsettledLake("UnsettledLake: days were rewritten while they were read. Materialize the report again.")

    def keep(self) -> str:
        """Name of the index of this night; the folds of the night before stay, should this one's end be lost."""
        name = self._store.put(Index(FORMAT, self._night, self._kept))
        before = {self._folded_before, *(kept.fold for kept in self._before.days.values())}
        self._store.drop_others({name, *(kept.fold for kept in self._kept.values()), *before})
        return name

    def _recall(self, day: str) -> None:
        fold = self._store.fold(self._kept[day].fold) if day in self._kept else None
        if fold is not None:
            self._days[day] = fold

    def _read(self, day: str, apart: Mapping[str, Iterable[Apart]]) -> None:
        fold = fold_day(self._lake, day, self._heads, apart)
        self._days[day] = fold
        self._kept[day] = KeptDay(self._listed[day], self._store.put(fold), self._night)

    def _runs_of(self, chain_id: str) -> dict[str, list[Run]]:
        return {day: fold.runs[chain_id] for day, fold in self._days.items() if chain_id in fold.runs}


def _longest_ago(kept: Mapping[str, KeptDay], count: int) -> set[str]:
    return set(sorted(kept, key=lambda day: (kept[day].night, day))[:count])


def _both(one: Mapping[str, list[Apart]], other: Mapping[str, list[Apart]]) -> dict[str, list[Apart]]:
    return {name: [*one.get(name, ()), *other.get(name, ())] for name in {*one, *other}}
