"""How much history a platform is given that has none."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta


@dataclass(frozen=True)
class World:
    """How much history. Its last day is today, up to this minute.

    days: a month to learn from, between a week in which everybody is new and one whose verdicts are not in.
    """

    days: int = 45
    per_day: int = 2_000
    seed: int = 7
    last_day: date = field(default_factory=lambda: datetime.now(UTC).date())

    def resized(self, days: int | None, per_day: int | None) -> "World":
        """With what was asked for; None asks for nothing."""
        return replace(self, days=days or self.days, per_day=per_day or self.per_day)

    @property
    def first_day(self) -> date:
        return self.last_day - timedelta(days=self.days - 1)
