"""Model folders whose manifests are any bytes: what the log vouches for is their hash."""

from pathlib import Path
from typing import Any

from fraud_assets.models.artifact import Champion, champion_of, publish_champion
from fraud_assets.models.manifest import MANIFEST_FILE
from fraud_assets.rollout.machine import (
    Appoint,
    Archive,
    BeginAB,
    BeginShadow,
    Halt,
    Plan,
    Rollback,
    Rollout,
    Step,
    ToCanary,
    ToFull,
    apply,
)

SAID: dict[str, Any] = {"who": "anna", "why": "a test", "evidence": {"n": 1}}
PLAN = Plan(shadow_ms=700, canary_ms=300, watch_ms=200, canary_share=0.05)
V1, V2, V3 = (Champion(f"v{number}", f"{number}" * 64) for number in (1, 2, 3))


def appoint(champion: Champion = V1, at_ms: int = 1) -> Appoint:
    return Appoint(at_ms=at_ms, champion=champion, **SAID)


def shadow(challenger: Champion = V2, at_ms: int = 2) -> BeginShadow:
    return BeginShadow(at_ms=at_ms, challenger=challenger, plan=PLAN, **SAID)


def ab(challenger: Champion = V2, share: float = 0.5, at_ms: int = 2) -> BeginAB:
    return BeginAB(at_ms=at_ms, challenger=challenger, share=share, plan=PLAN, **SAID)


def canary(share: float | None = None, at_ms: int = 3) -> ToCanary:
    return ToCanary(at_ms=at_ms, share=share, **SAID)


def full(at_ms: int = 4) -> ToFull:
    return ToFull(at_ms=at_ms, **SAID)


def halt(at_ms: int = 5) -> Halt:
    return Halt(at_ms=at_ms, **SAID)


def rollback(at_ms: int = 5) -> Rollback:
    return Rollback(at_ms=at_ms, **SAID)


def archive(at_ms: int = 6) -> Archive:
    return Archive(at_ms=at_ms, **SAID)


def after(*steps: Step) -> Rollout:
    rollout = Rollout()
    for step in steps:
        rollout = apply(rollout, step)
    return rollout


def write_version(model_dir: Path, version: str) -> Champion:
    (model_dir / version).mkdir(parents=True, exist_ok=True)
    (model_dir / version / MANIFEST_FILE).write_text(version)
    return champion_of(model_dir, version)


def make_folder(model_dir: Path, versions: int = 3) -> list[Champion]:
    """v1, which is champion by its file alone, v2, …: as before there were rollouts."""
    made = [write_version(model_dir, f"v{number}") for number in range(1, versions + 1)]
    publish_champion(model_dir, "v1")
    return made
