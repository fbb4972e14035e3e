"""Any sequence of steps, legal or not, with crashes and foreign hands in between."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fraud_assets.models.artifact import Champion, publish_champion, read_champion
from fraud_assets.rollout.log import LOG_FILE, Overtaken, PromotionLog
from fraud_assets.rollout.machine import (
    RUNNING,
    Arm,
    Halt,
    IllegalTransition,
    Phase,
    Rollback,
    Rollout,
    Step,
    ToFull,
    allowed,
    arm,
)
from fraud_assets.rollout.pointer import POINTER_FILE, follow
from tests.rollout.made import ab, appoint, archive, canary, full, halt, make_folder, rollback, shadow

ACCOUNTS = [f"a{number}" for number in range(300)]
VERSIONS = st.integers(0, 3)
SHARES = st.floats(0.01, 0.99)


class Rollouts(RuleBasedStateMachine):
    """What is kept beside it: every champion that there was, as a stack that a rollback takes from."""

    @initialize()
    def an_empty_log(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rollouts-"))
        self.versions = make_folder(self.folder, 4)
        self.log = PromotionLog(self.folder)
        self.seen = self.log.settle(1)
        self.at_ms = 1
        self.lines: list[bytes] = []
        self.stale = self.seen
        self.before_full: Champion | None = None

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # ------------------------------------------------------------------------------------- rules

    @rule(number=VERSIONS, share=SHARES, which=st.integers(0, 7))
    def step(self, number: int, share: float, which: int) -> None:
        named = self.versions[number]
        at = self.at_ms = self.at_ms + 1
        step: Step = (
            shadow(named, at), canary(share, at), full(at), halt(at), rollback(at), ab(named, share, at), archive(at), appoint(named, at)
        )[which]  # fmt: skip
        self._take(step)

    @rule(share=SHARES)
    def forward(self, share: float) -> None:
        """The usual next step, for chance alone seldom reaches the end of a rollout."""
        at = self.at_ms = self.at_ms + 1
        other = next(named for named in self.versions if named != self.seen.champion)
        ways: dict[Phase, Step] = {Phase.SHADOW: canary(share, at), Phase.CANARY: full(at), Phase.AB: full(at)}
        self._take(ways.get(self.seen.phase, shadow(other, at)))

    def _take(self, step: Step) -> None:
        before = self.seen
        files = self._files()
        try:
            after = self.log.move(before, step)
        except IllegalTransition:
            assert self._files() == files
            assert self.log.settle(self.at_ms) == before
            return
        assert type(step) in allowed(before)
        self._follows(before, step, after)
        self.stale, self.seen = before, after

    def _follows(self, before: Rollout, step: Step, after: Rollout) -> None:
        assert after.sequence == before.sequence + 1
        if isinstance(step, ToFull):
            assert (after.champion, after.previous) == (before.challenger, before.champion)
            self.before_full = before.champion
        elif isinstance(step, Halt | Rollback) and before.phase is Phase.FULL:
            assert after.champion == self.before_full
        elif isinstance(step, Halt | Rollback) and before.phase in RUNNING:
            assert after.champion == before.champion
        if before.phase is Phase.CANARY and after.phase is Phase.CANARY:
            kept = {account for account in ACCOUNTS if arm(before, account) is Arm.CHALLENGER}
            assert kept <= {account for account in ACCOUNTS if arm(after, account) is Arm.CHALLENGER}

    @rule()
    def a_step_from_what_is_no_longer_so(self) -> None:
        if self.stale != self.seen:
            files = self._files()
            with pytest.raises(Overtaken):
                self.log.move(self.stale, appoint(self.versions[0]))
            assert self._files() == files

    @rule(garbage=st.binary(min_size=1, max_size=40).filter(lambda raw: b"\n" not in raw))
    def a_crash_within_a_line(self, garbage: bytes) -> None:
        with (self.folder / LOG_FILE).open("ab") as file:
            file.write(garbage)
        assert PromotionLog(self.folder).settle(self.at_ms) == self.seen

    @rule()
    def a_crash_before_the_pointer(self) -> None:
        """As if the pointer had never been written: the log has it all."""
        (self.folder / POINTER_FILE).unlink()
        assert PromotionLog(self.folder).settle(self.at_ms) == self.seen

    @rule(number=VERSIONS)
    def somebody_publishes_beside_the_log(self, number: int) -> None:
        published = publish_champion(self.folder, self.versions[number].version)
        if published != self.seen.champion:
            self.stale = self.seen
        self.seen = self.log.settle(self.at_ms)
        assert self.seen.champion == published

    # -------------------------------------------------------------------------------- invariants

    @invariant()
    def one_champion_and_another_challenger(self) -> None:
        if not hasattr(self, "seen"):
            return
        assert self.seen.champion is not None
        assert self.seen.challenger != self.seen.champion
        assert (self.seen.challenger is not None) == (self.seen.phase in RUNNING)
        assert (self.seen.share > 0) == (self.seen.phase in (Phase.CANARY, Phase.AB))

    @invariant()
    def the_log_replays_to_what_scorers_follow_and_only_grows(self) -> None:
        if not hasattr(self, "seen"):
            return
        assert self.log.verify() == self.seen.sequence
        assert follow(self.folder) == self.seen
        assert read_champion(self.folder) == self.seen.champion
        lines = (self.folder / LOG_FILE).read_bytes().splitlines()
        assert lines[: len(self.lines)] == self.lines
        self.lines = lines

    @invariant()
    def the_champion_decides_unless_the_challenger_does(self) -> None:
        if hasattr(self, "seen") and self.seen.challenger is None:
            assert {arm(self.seen, account) for account in ACCOUNTS} == {Arm.CHAMPION}

    def _files(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in self.folder.iterdir()
            if path.is_file() and not path.name.startswith(".")
        }


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=40, stateful_step_count=20)
