"""Whatever happens to the label stage in whatever order: the facts that stand are those that the log and the clock say must stand.

Hypothesis makes up purchases, labels of them before and after, days that pass, sweeps, deaths at any step, replays, cases that
expire, and a case store that is lost. The judge knows what was published and what time it is, and nothing else.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from fraud_assets.contracts.events import Label, LabelFact, LabelSource, Transaction
from fraud_assets.labels.facts import (
    PRECEDENCE,
    Case,
    due_ms,
    owing,
    paid,
    settle,
    subject_of,
    with_label,
    with_subject,
)
from streaming.core.records import Accepted
from streaming.edges.cases import Identity, standing
from streaming.label_stage import LabelStage
from tests.streaming.events import DAY, MINUTE, T0, label, record, transaction
from tests.streaming.machine import Crash, Fuse
from tests.streaming.test_label_stage import accepted

DELAY = 7 * DAY
KEEP = 2 * DELAY
NUMBERS = 2  # of purchases: few, so that labels and copies meet them

Stands = Counter[tuple[str, bool, int]]


class Said(NamedTuple):
    """ago: how long it was known before it came."""

    source: LabelSource
    is_fraud: bool
    revision: int
    ago: int


purchases = st.sampled_from((0, 0, MINUTE, DAY, 8 * DAY))
labels = st.builds(
    Said, st.sampled_from(LabelSource), st.booleans(), st.integers(0, 2), st.sampled_from((0, 0, MINUTE, 3 * DAY))
)
fuses = st.none() | st.integers(0, 3) | st.integers(0, 12)


class Cases:
    """Redis as a process sees it: each key is written by itself, so a pipeline may be carried out by half."""

    def __init__(self, clock: "World") -> None:
        self.kept: dict[Identity, tuple[Case, int | None]] = {}
        self.waiting: dict[Identity, int] = {}
        self.clock = clock

    def read(self, identities: Sequence[Identity]) -> list[Case | None]:
        return [self._alive(one) for one in identities]

    def write(self, cases: Mapping[Identity, Case], partitions: Mapping[Identity, int], delay_ms: int) -> None:
        assert set(partitions.values()) <= {0}
        for identity, case in cases.items():
            self.clock.fuse.burn()
            # In Redis a label waits for its purchase as long as a case is kept; here for ever, for there is no saying what must stand then.
            forever = case.outbox or case.subject is None
            self.kept[identity] = case, None if forever else self.clock.now_ms + KEEP
            self.clock.fuse.burn()
            if case.outbox:
                self.waiting[identity] = 0
            elif case.subject is None or case.standing is not None:
                self.waiting.pop(identity, None)
            else:
                self.waiting[identity] = due_ms(case.subject.event_time_ms, delay_ms)

    def due(self, partition: int, now_ms: int, limit: int) -> list[Identity]:
        assert partition == 0
        return sorted((one for one, at in self.waiting.items() if at <= now_ms), key=self.waiting.__getitem__)[:limit]

    def forget_due(self, partition: int, identities: Iterable[Identity]) -> None:
        for one in identities:
            self.clock.fuse.burn()
            del self.waiting[one]

    def _alive(self, identity: Identity) -> Case | None:
        case, until_ms = self.kept.get(identity, (None, None))
        return case if until_ms is None or until_ms > self.clock.now_ms else None


class World:
    """Everything outside the process, and the process that runs now."""

    stage_of = LabelStage

    def __init__(self) -> None:
        self.now_ms, self.fuse = T0, Fuse()
        self.log: list[Accepted] = []
        self.committed = 0
        self.facts: list[LabelFact] = []
        # How much of both the router has written to the lake.
        self.in_lake = self.facts_in_lake = 0
        self.cases = Cases(self)
        self.start()

    def start(self) -> None:
        self.fuse = Fuse()
        self.stage = self.stage_of(self.cases, self, self.emit, DELAY, lambda: self.now_ms)

    def emit(self, facts: list[LabelFact]) -> None:
        for fact in facts:
            self.fuse.burn()
            self.facts.append(fact)
        self.fuse.burn()

    def publish(self, event: Transaction | Label) -> None:
        at = len(self.log)
        self.log.append(Accepted(record(event, offset=at, arrival_ms=self.now_ms), event, self.now_ms))

    def apply(self, most: int, back: int) -> None:
        """A checkpoint, and the one before it once more."""
        end = min(len(self.log), self.committed + most)
        self.stage.apply(self.log[max(0, self.committed - back) : end])
        self.fuse.burn()
        self.committed = end

    def write_lake(self) -> None:
        self.in_lake, self.facts_in_lake = len(self.log), len(self.facts)

    def find(self, identities: Iterable[Identity]) -> dict[Identity, tuple[Case, int]]:
        """`Archive`: what the lake can tell."""
        wanted = set(identities)
        found: dict[Identity, Case] = defaultdict(Case)
        for one in self.log[: self.in_lake]:
            if identity_of(one.event) in wanted:
                case = found[identity_of(one.event)]
                found[identity_of(one.event)] = with_event(case, one.event)
        facts = accepted(self.facts[: self.facts_in_lake])
        made = {
            identity: [fact for fact in facts if (fact.account_id, fact.transaction_id) == identity]
            for identity in found
        }
        return {
            identity: (Case(case.subject, case.statements, standing(made[identity]), len(made[identity])), 0)
            for identity, case in found.items()
            if case.subject is not None
        }

    def lose_cases(self) -> None:
        """A store that is empty is filled from the lake before it is used (`label_stage.fill`)."""
        self.write_lake()
        self.cases = Cases(self)
        found = {one: case for one, (case, _) in self.find(identity_of(one.event) for one in self.log).items()}
        for one in self.log:
            if isinstance(one.event, Label) and (found.get(identity_of(one.event)) or Case()).subject is None:
                found[identity_of(one.event)] = with_label(found.get(identity_of(one.event), Case()), one.event)
        self.cases.write(found, dict.fromkeys(found, 0), DELAY)
        self.start()


def identity_of(event: Any) -> Identity:
    return event.account_id, event.transaction_id


def with_event(case: Case, event: Any) -> Case:
    return with_subject(case, subject_of(event)) if isinstance(event, Transaction) else with_label(case, event)


def what_stands(facts: Iterable[LabelFact]) -> Stands:
    found: Stands = Counter()
    for fact in accepted(facts):
        found[fact.transaction_id, fact.is_fraud, fact.event_time_ms] += fact.sign
        assert found[fact.transaction_id, fact.is_fraud, fact.event_time_ms] >= 0, "taken back before it was said"
    return +found


def what_must_stand(log: Sequence[Accepted], now_ms: int) -> Stands:
    """The naive judge: at each instant at which something was said, what all said until then adds up to."""
    bought = {one.event.transaction_id: one.event for one in reversed(log) if isinstance(one.event, Transaction)}
    found: Stands = Counter()
    for name, purchase in bought.items():
        said = {one.event.label_id: one.event for one in reversed(log) if isinstance(one.event, Label)}
        mine = [one for one in said.values() if one.transaction_id == name]
        due = purchase.event_time_ms + DELAY
        instants = sorted({*(one.event_time_ms for one in mine), *([due] if due <= now_ms else [])})
        verdicts = [(at, adds_up([one for one in mine if one.event_time_ms <= at])) for at in instants]
        if verdicts:
            last = verdicts[-1][1]
            changes = [at for (at, is_fraud), before in zip(verdicts, [None, *verdicts], strict=False)
                       if before is None or before[1] != is_fraud]  # fmt: skip
            found[name, last, changes[-1]] += 1
    return found


def adds_up(said: Sequence[Label]) -> bool:
    for source in PRECEDENCE:
        of_source = [one for one in said if one.source == source]
        if of_source:
            return max(of_source, key=lambda one: (one.revision, one.event_time_ms, one.label_id)).is_fraud
    return False


class LabelDays(RuleBasedStateMachine):
    """A label stage's days."""

    world_of = World

    def __init__(self) -> None:
        super().__init__()
        self.world = self.world_of()

    def _instant(self) -> int:
        """No two things are said in one: which of two would be dated there is another test's claim."""
        self.world.now_ms += 1
        return self.world.now_ms

    # Several at once, and one rule for what a process does: Hypothesis leaves rules out of a run, and one without either shows nothing.
    @rule(given=st.lists(st.tuples(st.integers(1, NUMBERS), purchases | labels), min_size=1, max_size=5))
    def publish_some(self, given: "list[tuple[int, int | Said]]") -> None:
        for number, what in given:
            self.publish(number, what)

    @initialize(number=st.integers(1, NUMBERS), what=purchases)
    def publish(self, number: int, what: "int | Said") -> None:
        if isinstance(what, int):
            self._pay(f"t{number}", what)
            return
        made = label(label_id=f"l{len(self.world.log)}", transaction_id=f"t{number}", event_time_ms=self._instant() - what.ago,
                     source=what.source, is_fraud=what.is_fraud, revision=what.revision)  # fmt: skip
        self.world.publish(made)

    def _pay(self, name: str, ago: int) -> None:
        """Some are late, some have been spoken of already. Who comes again is a copy of the first."""
        known = [one.event for one in self.world.log if isinstance(one.event, Transaction)]
        copies = [one for one in known if one.transaction_id == name]
        made = transaction(transaction_id=name, event_time_ms=self._instant() - ago)
        self.world.publish(copies[0] if copies else made)

    @rule(ms=st.sampled_from((MINUTE, DAY, DELAY, KEEP + DAY)))
    def wait(self, ms: int) -> None:
        self._through()
        self._days_pass(ms)

    def _days_pass(self, ms: int) -> None:
        """The lake is seconds behind, cases are kept for days."""
        self.world.write_lake()
        self.world.now_ms += ms

    @rule()
    def write_lake(self) -> None:
        self.world.write_lake()

    @rule(is_sweep=st.booleans(), most=st.integers(1, 9), back=st.sampled_from((0, 0, 2)), fuse=fuses)
    def work(self, is_sweep: bool, most: int, back: int, fuse: int | None) -> None:
        """It sweeps every second: also when somebody has just become due."""
        if is_sweep and most > 5:
            self._days_pass(DELAY)
        act = (lambda: self.world.stage.sweep([0])) if is_sweep else lambda: self.world.apply(most, back)
        self.world.fuse.left = fuse
        try:
            act()
            self.world.fuse.left = None
        except Crash:
            self.world.start()

    @rule()
    def lose_the_case_store(self) -> None:
        self._through()
        self.world.lose_cases()

    def _through(self) -> None:
        """All that was published is applied, and nobody waits who is due."""
        self.world.apply(len(self.world.log), 0)
        while self.world.stage.sweep([0]):
            pass

    @rule()
    def settle(self) -> None:
        self._through()
        assert what_stands(self.world.facts) == what_must_stand(self.world.log, self.world.now_ms)

    def teardown(self) -> None:
        self.settle()


HARD = settings(max_examples=100, stateful_step_count=40, deadline=None, print_blob=True)


def test_any_days_of_the_label_stage_end_in_what_was_said() -> None:
    """A failure prints its steps, and the blob that repeats them."""
    run_state_machine_as_test(LabelDays, settings=HARD)


class SendsFirst(LabelStage):
    """Sends before it has saved what it sends."""

    def _settle(self, cases: dict[Identity, Case], partitions: Mapping[Identity, int]) -> list[LabelFact]:
        settled = {one: owing(*settle(case, self._delay_ms, self._now_ms())) for one, case in cases.items()}
        facts = [fact for case in settled.values() for fact in case.outbox]
        self._emit(facts)
        self._cases.write({one: paid(case) for one, case in settled.items()}, partitions, self._delay_ms)
        return facts


class SavesPaid(LabelStage):
    """Saves that it owes nothing, then sends."""

    def _settle(self, cases: dict[Identity, Case], partitions: Mapping[Identity, int]) -> list[LabelFact]:
        settled = {one: settle(case, self._delay_ms, self._now_ms()) for one, case in cases.items()}
        self._cases.write({one: case for one, (case, _) in settled.items()}, partitions, self._delay_ms)
        facts = [fact for _, made in settled.values() for fact in made]
        self._emit(facts)
        return facts


class Deaf(LabelStage):
    """Never asks the lake: an old case is a new one."""

    def _consult_archive(self, cases: dict[Identity, Case], new: set[Identity]) -> None:
        pass


@pytest.mark.parametrize("broken", [SendsFirst, SavesPaid, Deaf])
def test_the_judge_sees_a_stage_that_errs(broken: type[LabelStage]) -> None:
    class Broken(World):
        stage_of = broken

    class Days(LabelDays):
        world_of = Broken

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Days, settings=settings(HARD, max_examples=5_000, phases=(Phase.generate,), print_blob=False)
        )
