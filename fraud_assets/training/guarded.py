"""One look of the guard at a rollout: what is new, what it says, and the step that follows."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fraud_assets.models.artifact import Champion, open_artifact, replace_file
from fraud_assets.models.manifest import Manifest, RefusedModel
from fraud_assets.rollout.bounds import Limits, levels_of
from fraud_assets.rollout.guard import Guard, Judgement, next_step
from fraud_assets.rollout.log import Overtaken, PromotionLog
from fraud_assets.rollout.machine import WATCHED, Halt, Phase, Rollout
from fraud_assets.settings import Settings
from fraud_assets.stores.files import beside
from fraud_assets.stores.lake import Lake
from fraud_assets.training.gathered import Place, first_place, fold_new
from fraud_assets.training.holdout import holdout_scores
from fraud_assets.training.trial import Trial, begun_ms

WHO = "rollout_guard"


@dataclass(frozen=True)
class Looked:
    """rollout: after the step, if one was taken. place, judgement: None where nothing is watched. folded: whether something was new."""

    rollout: Rollout
    place: Place | None = None
    judgement: Judgement | None = None
    folded: bool = False


def look(
    log: PromotionLog, place: Place | None, lake: Lake, training_root: str, settings: Settings, now_ms: int
) -> Looked:
    """Gather, judge, and take the step that follows. Where somebody else took one meanwhile, nothing: the next look sees it.

    place: of the look before. Raises what `PromotionLog.move` does but Overtaken, and RefusedModel for a version that is gone.
    """
    rollout = log.settle(now_ms)
    if rollout.phase not in WATCHED:
        return Looked(rollout)
    trial = _trial(log, rollout, settings)
    guard = _guard(trial, training_root, settings)
    delay_ms = settings.label_delay_ms
    if place is None or (place.gathered.sequence, place.gathered.guard) != (rollout.sequence, guard.digest):
        place = first_place(guard, trial, delay_ms)
    after, is_all = fold_new(guard, trial, place, lake, delay_ms, now_ms)
    judgement = guard.judge(after.gathered)
    step = next_step(rollout, judgement, now_ms, WHO)
    if step is not None and (is_all or isinstance(step, Halt)):  # nobody goes on while evidence waits to be read
        try:
            rollout = log.move(rollout, step)
        except Overtaken:
            rollout = log.settle(now_ms)
    return Looked(rollout, after, judgement, after != place)


class Watcher:
    """Looks without Dagster, one after another: each gathers what is new since the one before, and takes the step that follows.

    kept: a file that what was gathered outlives the process in; without one it begins anew, with what the lake still has of
    the phase. Beside the sensor it does no harm: each has evidence of its own, and a step is taken once.
    """

    def __init__(self, settings: Settings, kept: Path | None = None) -> None:
        self._settings, self._kept = settings, kept
        self._log, self._lake = PromotionLog(settings.model_dir), Lake(settings.lake_uri)
        self._place = _read_place(kept)

    def look(self, now_ms: int | None = None) -> Looked:
        """Raises what `look` does. now_ms: by default the clock's."""
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        training_root = beside(self._settings.lake_uri, "training")
        found = look(self._log, self._place, self._lake, training_root, self._settings, now_ms)
        self._place = found.place
        if self._kept is not None:
            replace_file(self._kept, msgspec.json.encode(found.place))
        return found


def _read_place(kept: Path | None) -> Place | None:
    """None also where it is of another version: the evidence begins anew."""
    if kept is None or not kept.exists():
        return None
    try:
        return msgspec.json.decode(kept.read_bytes(), type=Place | None)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _trial(log: PromotionLog, rollout: Rollout, settings: Settings) -> Trial:
    """Of a running rollout the challenger beside the champion; after it the new champion beside the one before."""
    is_over = rollout.phase is Phase.FULL
    tried = rollout.champion if is_over else rollout.challenger
    other = rollout.previous if is_over else rollout.champion
    assert tried is not None  # WATCHED
    return Trial(
        rollout,
        open_artifact(settings.model_dir, tried).manifest,
        _manifest_if_there(settings, other),
        begun_ms(log.entries()),
    )


def _manifest_if_there(settings: Settings, other: Champion | None) -> Manifest | None:
    """None also for one whose files are gone or damaged: who is on trial is then judged alone."""
    if other is not None:
        with contextlib.suppress(RefusedModel):
            return open_artifact(settings.model_dir, other).manifest
    return None


def _guard(trial: Trial, training_root: str, settings: Settings) -> Guard:
    """Drift is measured from the scores of the version's own holdout, whatever was trained since; without one not at all."""
    return Guard(Limits.of(settings), levels_of(holdout_scores(training_root, trial.tried.model_version)))
