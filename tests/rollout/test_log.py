"""The promotion log on a real folder: only ever longer, one writer at a time, whole after any crash."""

import fcntl
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import msgspec
import pytest

from fraud_assets.models.artifact import CHAMPION_FILE, publish_champion, read_champion
from fraud_assets.models.manifest import MANIFEST_FILE, RefusedModel, sha256
from fraud_assets.rollout import log as log_module
from fraud_assets.rollout.log import LOCK_FILE, LOG_FILE, TORN_FILE, BrokenLog, Busy, Entry, Overtaken, PromotionLog
from fraud_assets.rollout.machine import IllegalTransition, Phase, Rollout, Step
from fraud_assets.rollout.pointer import POINTER_FILE, follow
from fraud_assets.rollout.standing import Stage, Standing, standing
from tests.rollout.made import ab, appoint, archive, canary, full, halt, make_folder, rollback, shadow

WITHIN_S = 60.0
AT_MS = 1
# A child that only writes files need not import everything anew, which takes it two seconds.
FORK = multiprocessing.get_context("fork")


def moved(model_dir: Path, *steps: Step) -> Rollout:
    """Each step from what the log says is."""
    log = PromotionLog(model_dir)
    rollout = log.settle(AT_MS)
    for step in steps:
        rollout = log.move(rollout, step)
    return rollout


def held(model_dir: Path) -> dict[str, bytes]:
    """Everything that a step may write."""
    files = (LOG_FILE, POINTER_FILE, CHAMPION_FILE)
    return {name: (model_dir / name).read_bytes() for name in files if (model_dir / name).exists()}


# ----------------------------------------------------------------------------------------- one step


def test_where_there_was_no_rollout_the_champion_file_is_the_first_step(tmp_path: Path) -> None:
    v1, v2, _ = make_folder(tmp_path)
    assert follow(tmp_path) == Rollout(champion=v1)

    moved(tmp_path, shadow(v2))

    first, second = PromotionLog(tmp_path).entries()
    assert (first.rollout.phase, first.rollout.champion, first.step.who) == (Phase.NONE, v1, "publish_champion")
    assert (second.rollout.phase, second.rollout.challenger) == (Phase.SHADOW, v2)


def test_settling_a_folder_without_a_champion_writes_nothing(tmp_path: Path) -> None:
    assert PromotionLog(tmp_path).settle(AT_MS) == Rollout()

    assert held(tmp_path) == {}
    assert PromotionLog(tmp_path).verify() == 0


def test_a_first_champion_can_be_appointed_in_an_empty_folder(tmp_path: Path) -> None:
    v1, *_ = make_folder(tmp_path)
    (tmp_path / CHAMPION_FILE).unlink()

    moved(tmp_path, appoint(v1))

    assert read_champion(tmp_path) == v1


def test_scorers_follow_each_step_and_the_champion_file_only_changes_with_the_champion(tmp_path: Path) -> None:
    v1, v2, _ = make_folder(tmp_path)
    seen = []

    for step in (shadow(v2), canary(), full(), rollback()):
        rollout = moved(tmp_path, step)
        assert follow(tmp_path) == rollout
        seen.append((rollout.phase, read_champion(tmp_path)))

    assert seen == [(Phase.SHADOW, v1), (Phase.CANARY, v1), (Phase.FULL, v2), (Phase.REVERTED, v1)]


def test_each_line_names_the_one_before_and_what_it_rests_on(tmp_path: Path) -> None:
    _, v2, _ = make_folder(tmp_path)
    moved(tmp_path, shadow(v2), canary())

    lines = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]

    assert [line["entry"]["previous_sha256"] for line in lines] == [None, *[line["sha256"] for line in lines[:-1]]]
    step = lines[-1]["entry"]["step"]
    assert (step["kind"], step["who"], step["why"], step["evidence"]) == ("canary", "anna", "a test", {"n": 1})


def test_a_step_decided_on_what_is_no_longer_so_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    _, v2, v3 = make_folder(tmp_path)
    log = PromotionLog(tmp_path)
    seen = log.settle(AT_MS)
    log.move(seen, shadow(v2))
    before = held(tmp_path)

    with pytest.raises(Overtaken, match=r"at step 2 \(shadow\), this one was decided at 1 \(none\)"):
        log.move(seen, shadow(v3))

    assert held(tmp_path) == before


def test_an_illegal_step_changes_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path)
    log = PromotionLog(tmp_path)
    seen, before = log.settle(AT_MS), held(tmp_path)

    with pytest.raises(IllegalTransition):
        log.move(seen, full())

    assert held(tmp_path) == before


@pytest.mark.parametrize("broken", ["gone", "changed"])
def test_nobody_is_promoted_or_brought_back_whose_files_are_not_what_was_vouched_for(
    tmp_path: Path, broken: str
) -> None:
    v1, v2, _ = make_folder(tmp_path)
    rollout = moved(tmp_path, shadow(v2), canary(), full())
    before = held(tmp_path)
    manifest = tmp_path / "v1" / MANIFEST_FILE
    manifest.unlink() if broken == "gone" else manifest.write_text("other")

    with pytest.raises(RefusedModel, match="v1"):
        PromotionLog(tmp_path).move(rollout, rollback())

    assert held(tmp_path) == before
    assert PromotionLog(tmp_path).settle(AT_MS).previous == v1


# --------------------------------------------------------------------- champions published beside it


def test_a_champion_published_beside_the_log_is_served_alone_and_then_recorded(tmp_path: Path) -> None:
    """As whoever knows of no rollouts does it, in the middle of one."""
    v1, v2, v3 = make_folder(tmp_path)
    moved(tmp_path, shadow(v2), canary())

    publish_champion(tmp_path, "v3")
    followed = follow(tmp_path)
    settled = PromotionLog(tmp_path).settle(AT_MS)

    assert (followed.champion, followed.challenger, followed.previous) == (v3, None, v1)
    assert (settled.phase, settled.champion, settled.challenger, settled.previous) == (Phase.NONE, v3, None, v1)
    assert PromotionLog(tmp_path).verify() == 4


def test_a_step_decided_before_a_champion_was_published_beside_the_log_is_refused(tmp_path: Path) -> None:
    _, v2, _ = make_folder(tmp_path)
    seen = moved(tmp_path, shadow(v2))
    publish_champion(tmp_path, "v3")

    with pytest.raises(Overtaken):
        PromotionLog(tmp_path).move(seen, canary())


@pytest.mark.parametrize("name", [CHAMPION_FILE, POINTER_FILE])
@pytest.mark.parametrize("how", ["gone", "garbage"])
def test_a_lost_pointer_is_written_again_from_the_log(tmp_path: Path, name: str, how: str) -> None:
    _, v2, _ = make_folder(tmp_path)
    rollout = moved(tmp_path, shadow(v2), canary())
    before = held(tmp_path)
    (tmp_path / name).unlink() if how == "gone" else (tmp_path / name).write_bytes(b"\xff")

    assert PromotionLog(tmp_path).settle(AT_MS) == rollout

    assert held(tmp_path) == before


# ------------------------------------------------------------------------------------------ crashes


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_instead_of(name: str) -> None:
    setattr(log_module, name, lambda *_: die())


def _die_after(name: str) -> None:
    real: Callable[..., object] = getattr(log_module, name)

    def last(*given: object) -> None:
        real(*given)
        die()

    setattr(log_module, name, last)


def _die_within_the_line(_: str) -> None:
    def half(path: Path, line: bytes) -> None:
        with path.open("ab") as file:
            file.write(line[: len(line) // 2])
        die()

    log_module.append = half


# Where the process is killed → how, and whether the step was taken.
CRASHES: dict[str, tuple[Callable[[str], None], str, bool]] = {
    "before the line": (_die_instead_of, "append", False),
    "within the line": (_die_within_the_line, "append", False),
    "after the line": (_die_after, "append", True),
    "before the champion": (_die_instead_of, "point_to", True),
    "after the champion": (_die_after, "point_to", True),
    "before the pointer": (_die_instead_of, "write_pointer", True),
    "after the pointer": (_die_after, "write_pointer", True),
}


def move_and_die(model_dir: Path, where: str, step: Step) -> None:
    """In a process of its own, which is killed there by the system's own signal."""
    log = PromotionLog(model_dir)
    seen = log.settle(AT_MS)
    how, name, _ = CRASHES[where]
    how(name)
    log.move(seen, step)


def killed(model_dir: Path, where: str, step: Step) -> None:
    process = FORK.Process(target=move_and_die, args=(model_dir, where, step))
    process.start()
    process.join(WITHIN_S)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("where", CRASHES)
@pytest.mark.parametrize("step", [full(), rollback()], ids=["full", "rollback"])
def test_a_process_killed_anywhere_in_a_step_has_taken_it_or_has_not(tmp_path: Path, where: str, step: Step) -> None:
    """And no line before it is lost; scorers follow the old champion or the new one, never nobody, and then the log."""
    v1, v2, _ = make_folder(tmp_path)
    before = moved(tmp_path, shadow(v2), canary(), *([full()] if step == rollback() else []))
    lines = PromotionLog(tmp_path).entries()
    killed(tmp_path, where, step)

    assert follow(tmp_path).champion in (v1, v2)
    settled = PromotionLog(tmp_path).settle(AT_MS)

    is_taken = CRASHES[where][2]
    new = v2 if step == full() else v1
    assert settled.champion == (new if is_taken else before.champion)
    assert settled.sequence == before.sequence + is_taken
    assert follow(tmp_path) == settled
    assert read_champion(tmp_path) == settled.champion
    assert PromotionLog(tmp_path).verify() == settled.sequence
    assert PromotionLog(tmp_path).entries()[: len(lines)] == lines


def test_half_a_line_is_put_aside_and_the_next_step_stands_in_its_place(tmp_path: Path) -> None:
    _, v2, _ = make_folder(tmp_path)
    rollout = moved(tmp_path, shadow(v2))
    with (tmp_path / LOG_FILE).open("ab") as file:
        file.write(b'{"sha256":"')

    assert moved(tmp_path, canary()).sequence == rollout.sequence + 1

    assert (tmp_path / TORN_FILE).read_bytes() == b'{"sha256":"\n'
    assert PromotionLog(tmp_path).verify() == rollout.sequence + 1


def test_a_line_whose_blocks_did_not_all_reach_the_disk_is_half_a_line(tmp_path: Path) -> None:
    """A power cut may leave its end and not its middle."""
    _, v2, _ = make_folder(tmp_path)
    rollout = moved(tmp_path, shadow(v2))
    with (tmp_path / LOG_FILE).open("ab") as file:
        file.write(bytes(4096) + b'"}}\n')

    assert PromotionLog(tmp_path).settle(AT_MS) == rollout


def test_a_disk_that_refuses_a_line_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    """Through a real limit of this process on a file's size."""
    _, v2, _ = make_folder(tmp_path)
    rollout = moved(tmp_path, shadow(v2))
    before = held(tmp_path)
    process = FORK.Process(target=move_on_a_full_disk, args=(tmp_path, rollout, len(before[LOG_FILE]) + 100))
    process.start()
    process.join(WITHIN_S)

    assert process.exitcode == 0
    assert held(tmp_path) == before


def move_on_a_full_disk(model_dir: Path, seen: Rollout, size: int) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    with pytest.raises(OSError, match=r"only a part|too large"):
        PromotionLog(model_dir).move(seen, canary())


# ---------------------------------------------------------------------------------------- tampering


def altered(model_dir: Path, number: int, change: Callable[[bytes], bytes]) -> None:
    path = model_dir / LOG_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = change(lines[number])
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_line_that_was_altered_is_found_and_never_repaired_away(tmp_path: Path, number: int) -> None:
    _, v2, _ = make_folder(tmp_path)
    moved(tmp_path, shadow(v2), canary())
    altered(tmp_path, number, lambda line: line.replace(b'"why":"', b'"why":"not '))
    before = held(tmp_path)

    for call in (PromotionLog(tmp_path).verify, lambda: PromotionLog(tmp_path).settle(AT_MS)):
        with pytest.raises(BrokenLog):
            call()

    assert held(tmp_path) == before


def test_a_log_that_was_cut_is_found(tmp_path: Path) -> None:
    _, v2, _ = make_folder(tmp_path)
    moved(tmp_path, shadow(v2), canary())
    altered(tmp_path, 2, lambda _: b"")

    with pytest.raises(BrokenLog, match="2 whole lines, and the pointer follows line 3"):
        PromotionLog(tmp_path).settle(AT_MS)
    with pytest.raises(BrokenLog, match="not that of the log's last step"):
        PromotionLog(tmp_path).verify()


def test_a_line_with_sound_hashes_that_does_not_follow_from_the_one_before_is_found(tmp_path: Path) -> None:
    """Whoever can compute SHA-256 can forge a line; not one that the machine would not make."""
    v1, v2, _ = make_folder(tmp_path)
    rollout = moved(tmp_path, shadow(v2))
    read = PromotionLog(tmp_path)._read()
    forged = msgspec.structs.replace(rollout, sequence=3, phase=Phase.FULL, champion=v2, challenger=None, previous=v1)
    entry = Entry(previous_sha256=read.head_sha256, step=canary(), rollout=forged)
    raw = msgspec.json.encode(entry)
    line = log_module._Line(sha256(raw), msgspec.Raw(raw))
    log_module.append(tmp_path / LOG_FILE, msgspec.json.encode(line) + b"\n")

    with pytest.raises(BrokenLog, match=r"line 3 .* names another rollout"):
        PromotionLog(tmp_path).verify()


# -------------------------------------------------------------------------------------- two writers


def move_at_once(at_once: Barrier, model_dir: Path, seen: Rollout, step: Step) -> None:
    log = PromotionLog(model_dir)
    at_once.wait(WITHIN_S)
    try:
        log.move(seen, step)
    except Overtaken:
        raise SystemExit(7) from None


def test_of_two_commands_at_one_moment_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    _, v2, v3 = make_folder(tmp_path)
    seen = PromotionLog(tmp_path).settle(AT_MS)
    spawn = multiprocessing.get_context("spawn")
    at_once = spawn.Barrier(4)
    steps = [shadow(v2), shadow(v3), ab(v2), ab(v3)]
    runs = [spawn.Process(target=move_at_once, args=(at_once, tmp_path, seen, step)) for step in steps]

    for run in runs:
        run.start()
    for run in runs:
        run.join(WITHIN_S)

    assert sorted(run.exitcode or 0 for run in runs) == [0, 7, 7, 7]
    winner = next(step for step, run in zip(steps, runs, strict=True) if run.exitcode == 0)
    assert PromotionLog(tmp_path).entries()[-1].step == winner
    assert PromotionLog(tmp_path).verify() == 2


def test_who_waits_too_long_for_a_process_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path)
    monkeypatch.setattr(log_module, "LOCK_WAIT_S", 0.05)

    with (tmp_path / LOCK_FILE).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy, match=LOCK_FILE):
            PromotionLog(tmp_path).settle(AT_MS)

    assert PromotionLog(tmp_path).settle(AT_MS).sequence == 1


# ------------------------------------------------------------------------------------ what is said


@pytest.mark.parametrize(
    ("steps", "champion", "challenger", "stages"),
    [
        ([], "v1", None, {"v1": "Production"}),
        (["shadow"], "v1", "v2", {"v1": "Production", "v2": "Staging"}),
        (["shadow", "halt"], "v1", None, {"v1": "Production", "v2": "Archived"}),
        (["shadow", "canary", "full"], "v2", None, {"v1": "Archived", "v2": "Production"}),
        (["shadow", "canary", "full", "rollback"], "v1", None, {"v1": "Production", "v2": "Archived"}),
        (["shadow", "canary", "full", "archive"], "v2", None, {"v1": "Archived", "v2": "Production"}),
    ],
)
def test_the_log_says_which_version_is_what(
    tmp_path: Path, steps: list[str], champion: str, challenger: str | None, stages: dict[str, Stage]
) -> None:
    _, v2, _ = make_folder(tmp_path)
    ways: dict[str, Step] = {
        "shadow": shadow(v2), "canary": canary(), "full": full(), "halt": halt(), "rollback": rollback(), "archive": archive()
    }  # fmt: skip
    moved(tmp_path, *[ways[name] for name in steps])

    found = standing(entry.rollout for entry in PromotionLog(tmp_path).entries())

    assert found == Standing(champion, challenger, stages)
