"""Whether a drifted day is a reason to train now. Pure."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

# A report that is made later than this after its day is of a backfill, and says nothing of what is scored now.
NEWS_DAYS = 7


class Answer(NamedTuple):
    """refused: why no training is asked for, empty where one is. answered: as-of day of the training that is the drift's answer."""

    refused: str
    answered: str


def answer(drifted: str, today: str, trained: Iterable[str], answered: str, cooldown_days: int) -> Answer:
    """What a day that drifted calls for: a training as of `today`, or nothing.

    trained: as-of days that have a model. answered: of the answer before, empty where there was none. A training as of a later day
    than the drifted one knew of its payments. For `cooldown_days` an answer is that of every day that drifts: it is one drift until the
    days that drifted are learnt from.
    """
    since = max((day for day in trained if drifted < day <= today), default="")
    if drifted < _before(today, NEWS_DAYS):
        return Answer(f"{drifted} is more than {NEWS_DAYS} days ago: history", answered)
    if answered > _before(today, cooldown_days):
        return Answer(f"a training as of {answered}, less than {cooldown_days} days ago, is the answer", answered)
    if since > _before(today, cooldown_days):
        return Answer(f"the model as of {since} was trained when {drifted} was known", since)
    return Answer("", today)


def _before(today: str, days: int) -> str:
    return (date.fromisoformat(today) - timedelta(days=days)).isoformat()
