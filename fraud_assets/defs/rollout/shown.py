"""Who decides, as asset metadata."""

from fraud_assets.rollout.machine import Rollout


def rollout_metadata(rollout: Rollout) -> dict[str, str | int | float]:
    """Nobody is an empty text: metadata holds no null."""
    return {
        "phase": str(rollout.phase),
        "sequence": rollout.sequence,
        "champion": rollout.champion.version if rollout.champion else "",
        "challenger": rollout.challenger.version if rollout.challenger else "",
        "challenger_share": rollout.share,
    }
