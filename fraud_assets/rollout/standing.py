"""Which version is what, from the log: what a registry is made to say."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from fraud_assets.rollout.machine import Rollout

# What MLflow calls the model that has all these versions, and two of them.
MODEL_NAME = "fraud"
CHAMPION, CHALLENGER = "champion", "challenger"


class Stage(StrEnum):
    """The words of MLflow's stages, which it keeps as plain tags now."""

    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


class Standing(NamedTuple):
    """stages: of every version that ever was champion or challenger."""

    champion: str | None
    challenger: str | None
    stages: dict[str, Stage]


def standing(rollouts: Iterable[Rollout]) -> Standing:
    """From the rollouts after each step, oldest first. A champion kept for a rollback is archived: it serves nobody."""
    stages: dict[str, Stage] = {}
    champion = challenger = None
    for rollout in rollouts:
        champion = rollout.champion.version if rollout.champion else None
        challenger = rollout.challenger.version if rollout.challenger else None
        stages |= {version: Stage.ARCHIVED for version in (champion, challenger) if version}
    stages |= {champion: Stage.PRODUCTION} if champion else {}
    stages |= {challenger: Stage.STAGING} if challenger else {}
    return Standing(champion, challenger, stages)
