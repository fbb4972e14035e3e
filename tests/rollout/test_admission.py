"""What becomes of a version that passed its gates."""

from pathlib import Path

import pytest

from fraud_assets.models.artifact import Champion, read_champion
from fraud_assets.rollout.admission import admit, thrown_out
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import Phase, Plan, Rollout, Step
from tests.rollout.made import PLAN, canary, full, halt, make_folder, rollback, shadow, write_version


def admitted(model_dir: Path, named: Champion, plan: Plan | None, at_ms: int = 9) -> tuple[Rollout, str]:
    return admit(PromotionLog(model_dir), named, plan, at_ms, "champion_model", "passes", {"n": 1})


def moved(model_dir: Path, *steps: Step) -> PromotionLog:
    log = PromotionLog(model_dir)
    for step in steps:
        log.move(log.settle(step.at_ms), step)
    return log


@pytest.mark.parametrize("plan", [None, PLAN])
def test_the_first_version_is_champion_at_once_also_where_rollouts_are_on(tmp_path: Path, plan: Plan | None) -> None:
    first = write_version(tmp_path, "v1")

    rollout, done = admitted(tmp_path, first, plan)

    assert (rollout.champion, rollout.phase, done) == (first, Phase.NONE, "appointed")
    assert read_champion(tmp_path) == first


def test_without_rollouts_a_version_replaces_the_champion_and_ends_what_runs(tmp_path: Path) -> None:
    _, v2, v3 = make_folder(tmp_path)
    moved(tmp_path, shadow(v2))

    rollout, _ = admitted(tmp_path, v3, None)

    assert (rollout.champion, rollout.challenger, rollout.phase) == (v3, None, Phase.NONE)
    assert read_champion(tmp_path) == v3


def test_with_rollouts_a_version_begins_a_shadow_and_the_champion_stays(tmp_path: Path) -> None:
    v1, v2, _ = make_folder(tmp_path)

    rollout, done = admitted(tmp_path, v2, PLAN)

    assert (rollout.champion, rollout.challenger, rollout.plan) == (v1, v2, PLAN)
    assert (rollout.phase, done) == (Phase.SHADOW, "begins a shadow")


@pytest.mark.parametrize("plan", [None, PLAN])
def test_the_champion_again_changes_nothing_and_ends_no_rollout(tmp_path: Path, plan: Plan | None) -> None:
    v1, v2, _ = make_folder(tmp_path)
    log = moved(tmp_path, shadow(v2))

    rollout, done = admitted(tmp_path, v1, plan)

    assert (rollout.phase, done) == (Phase.SHADOW, "it is the champion already")
    assert log.entries()[-1].rollout == rollout


@pytest.mark.parametrize(("version", "said"), [("v2", "challenges already"), ("v3", "v2 is in shadow")])
def test_while_something_is_tried_nothing_else_begins(tmp_path: Path, version: str, said: str) -> None:
    made = {one.version: one for one in make_folder(tmp_path)}
    log = moved(tmp_path, shadow(made["v2"]))

    rollout, done = admitted(tmp_path, made[version], PLAN)

    assert said in done
    assert rollout.challenger == made["v2"]
    assert len(log.entries()) == 2  # the champion that was found, and the shadow


@pytest.mark.parametrize("ending", [(), (canary(), full(), rollback())])
def test_what_was_thrown_out_is_not_tried_again_by_itself_but_by_a_person(
    tmp_path: Path, ending: tuple[Step, ...]
) -> None:
    """A training of the same day gives the same version."""
    _, v2, v3 = make_folder(tmp_path)
    log = moved(tmp_path, shadow(v2), *(ending or (halt(),)))

    assert thrown_out(log.entries()) == {v2}
    assert "only a person" in admitted(tmp_path, v2, PLAN)[1]
    assert admitted(tmp_path, v3, PLAN)[1] == "begins a shadow"

    moved(tmp_path, halt(), shadow(v2, at_ms=10))
    assert v2 not in thrown_out(log.entries())


def test_a_new_champion_that_is_still_watched_is_challenged_by_nobody(tmp_path: Path) -> None:
    """A shadow begun now would end its watch, and with it the way back to the champion before."""
    _, v2, v3 = make_folder(tmp_path)
    moved(tmp_path, shadow(v2), canary(), full())

    rollout, done = admitted(tmp_path, v3, PLAN)

    assert (rollout.champion, rollout.phase) == (v2, Phase.FULL)
    assert done == "stays registered: v2 is in full"
