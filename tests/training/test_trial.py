"""What of the lake becomes evidence of a rollout, and what follows from it: on a real lake, log and models."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from fraud_assets.contracts.events import Decision, LabelFact
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.artifact import champion_of, read_champion
from fraud_assets.rollout.guard import Verdict
from fraud_assets.rollout.machine import HOUR_MS, Halt, Phase, Rollback, ToCanary, ToFull
from fraud_assets.training.__main__ import main
from fraud_assets.training.guarded import Watcher
from fraud_assets.training.settled import SETTLED_MS
from fraud_assets.training.trial import FOLLOWED_MS
from tests.models.made import Trained
from tests.training.trials import LABEL_DELAY_DAYS, T0, Trial, calm, decision, fact

LIVE = T0 + FOLLOWED_MS
MINUTE_MS = 60_000
SAID = {"who": "a test", "why": "a test", "evidence": {"n": 1}}


@pytest.fixture
def trial(tmp_path: Path, trained: Trained) -> Trial:
    return Trial.made(tmp_path / "var", trained)


def test_a_challenger_that_would_deny_many_more_is_halted_and_the_champion_stays(trial: Trial) -> None:
    trial.decided([decision(n, LIVE + n, 0.01, {"v2": 0.9 if n % 3 == 0 else 0.1}) for n in range(400)])

    found = trial.look(LIVE + 1_000)

    step = trial.log.entries()[-1].step
    assert found.rollout.phase is Phase.HALTED
    assert isinstance(step, Halt) and step.who == "rollout_guard" and "more of all payments" in step.why
    assert read_champion(trial.settings.model_dir) == champion_of(trial.settings.model_dir, "v1")


def test_a_sound_challenger_goes_on_to_a_canary_when_its_time_is_over_and_begins_anew(trial: Trial) -> None:
    trial.decided(calm(200))

    early, due, after = (trial.look(at) for at in (LIVE + 1_000, T0 + DAY_MS, T0 + DAY_MS + 1))

    assert (early.rollout.phase, due.rollout.phase) == (Phase.SHADOW, Phase.CANARY)
    assert isinstance(trial.log.entries()[-1].step, ToCanary)
    assert trial.log.entries()[-1].step.evidence["verdict"] == Verdict.GO_ON
    assert after.rollout == due.rollout
    assert trial.seen("deny_rate") == 0  # evidence is a phase's own


def test_time_alone_promotes_nobody(trial: Trial) -> None:
    trial.decided(calm(99))

    assert trial.look(T0 + DAY_MS).rollout.phase is Phase.SHADOW


def test_a_decision_is_counted_once_however_often_anybody_looks_and_after_compaction(trial: Trial) -> None:
    trial.decided(calm(150))
    first = trial.look(LIVE + 1_000)
    again = trial.look(LIVE + 2_000)
    trial.decided(calm(30, first=150, at_ms=LIVE + 3_000))
    for day in trial.lake.days("decisions"):
        files = [info for of, info in trial.lake.files("decisions") if of == day]
        trial.lake.merge("decisions", day, files, "merged")

    trial.look(LIVE + 5_000)

    assert (first.folded, again.folded) == (True, False)
    assert trial.seen("deny_rate") == trial.seen("excess_denials") == 180


def test_a_guard_that_was_off_catches_up_look_by_look_and_promotes_nobody_before(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two partitions, so that a part of one would be skipped if the other were read first."""
    monkeypatch.setattr("fraud_assets.training.gathered.AT_ONCE", 120)
    trial.decided(calm(150))
    trial.decided(calm(100, first=150), partition=1)
    at_ms = T0 + DAY_MS

    phases, seen = [], []
    for _ in range(3):
        phases.append(trial.look(at_ms).rollout.phase)
        seen.append(trial.seen("deny_rate"))

    assert seen == [120, 240, 250]
    assert phases == [Phase.SHADOW, Phase.SHADOW, Phase.CANARY]


def unanswered(first: int, count: int, at_ms: int, scored_ms: dict[str, float]) -> list[Decision]:
    """Ten a second, to which v2 gave no score."""
    return [decision(first + n, at_ms + 100 * n, 0.01, {}, scored_ms=scored_ms) for n in range(count)]


def test_no_score_is_an_error_but_not_while_scorers_come_to_follow(trial: Trial) -> None:
    asked = {"v1": 0.1, "v2": 0.1}
    trial.decided(unanswered(0, FOLLOWED_MS // 100, T0, asked))
    before = trial.look(T0 + FOLLOWED_MS)
    trial.decided(unanswered(1_000, 600, LIVE, asked))

    after = trial.look(LIVE + 60_000)

    assert before.judgement is not None and before.judgement.verdict is Verdict.GO_ON
    assert after.rollout.phase is Phase.HALTED
    assert "is asked and gives 100.00% of payments no score" in trial.log.entries()[-1].step.why


def test_a_scorer_that_has_yet_to_load_the_challenger_makes_no_error_of_its(trial: Trial) -> None:
    """It asks nobody but the champion, and says how long that took; after two minutes the challenger is there."""
    trial.decided(unanswered(0, 1_200, LIVE, {"v1": 0.1}))
    trial.decided(calm(100, first=2_000, at_ms=LIVE + 120_000))

    found = trial.look(LIVE + 200_000)

    assert found.judgement is not None and found.judgement.verdict is Verdict.GO_ON
    assert (trial.seen("errors"), trial.seen("deny_rate")) == (0, 100)


def test_what_halts_a_slow_challenger_is_its_own_time_not_the_requests(trial: Trial) -> None:
    """The first requests were all late, which is the store's; then v2 takes 40 ms where v1 takes one."""

    def answered(first: int, at_ms: int, own_ms: float, **changed: float) -> list[Decision]:
        took: dict[str, object] = {"scored_ms": {"v1": 1.0, "v2": own_ms}, **changed}
        return [decision(first + n, at_ms + 100 * n, 0.01, {"v2": 0.02}, **took) for n in range(700)]

    trial.decided(answered(0, LIVE, 0.2, latency_ms=400.0))
    patient = trial.look(LIVE + 70_000)
    trial.decided(answered(1_000, LIVE + 80_000, 40.0))

    found = trial.look(LIVE + 160_000)

    assert patient.rollout.phase is Phase.SHADOW
    assert found.rollout.phase is Phase.HALTED
    assert "takes more than 10 ms" in trial.log.entries()[-1].step.why


def test_a_rules_denial_is_both_models_and_a_degraded_decision_is_nobodys(trial: Trial) -> None:
    trial.decided([decision(n, LIVE + n, 0.01, {"v2": 0.02}, action="deny") for n in range(50)])
    trial.decided([decision(50 + n, LIVE + n, 0.01, {}, degraded_reasons=["online_store_timeout"]) for n in range(300)])

    found = trial.look(LIVE + 1_000)

    assert found.judgement is not None
    estimates = {one.name: one.estimate for one in found.judgement.findings}
    assert (estimates["excess_denials"], estimates["fewer_denials"]) == (0.0, 0.0)
    assert estimates["deny_rate"] == 1.0
    assert trial.seen("deny_rate") == 50


def test_a_rules_denial_that_the_score_agrees_with_is_still_the_rules(trial: Trial) -> None:
    """Only the scorer can say so: the deciding score denies too, and the other version's does not."""
    said: dict[str, object] = {"action": "deny", "ruled": "deny"}
    trial.decided([decision(n, LIVE + n, 0.9, {"v2": 0.02}, **said) for n in range(300)])

    found = trial.look(LIVE + 1_000)

    assert found.judgement is not None
    estimates = {one.name: one.estimate for one in found.judgement.findings}
    assert (estimates["excess_denials"], estimates["fewer_denials"]) == (0.0, 0.0)


def test_in_a_canary_both_models_decide_and_each_is_the_others_shadow(trial: Trial) -> None:
    """Of two thirds the champion decides, of one the challenger, which denies them."""
    trial.move(ToCanary(at_ms=T0, **SAID))  # type: ignore[arg-type]
    mine = [decision(n, LIVE + n, 0.85, {"v1": 0.1}, model_version="v2", action="deny") for n in range(20)]
    theirs = [decision(20 + n, LIVE + n, 0.1, {"v2": 0.1}) for n in range(40)]
    trial.decided([*mine, *theirs])

    found = trial.look(LIVE + 1_000)

    assert found.judgement is not None
    estimates = {one.name: one.estimate for one in found.judgement.findings}
    assert estimates["excess_denials"] == estimates["deny_rate"] == pytest.approx(1 / 3)


def test_a_new_champion_is_compared_with_the_one_before_which_scores_beside_it(trial: Trial) -> None:
    trial.move(ToCanary(at_ms=T0, **SAID))  # type: ignore[arg-type]
    trial.move(ToFull(at_ms=T0, **SAID))  # type: ignore[arg-type]
    scores = [0.9 if n % 20 == 0 else 0.1 for n in range(2_000)]
    trial.decided([decision(n, LIVE + n, score, {"v1": 0.1}, model_version="v2") for n, score in enumerate(scores)])

    found = trial.look(LIVE + 10_000)

    assert found.rollout.phase is Phase.REVERTED
    assert "denies 5.00% more of all payments than the champion" in trial.log.entries()[-1].step.why


def test_a_new_champion_that_is_watched_alone_is_reverted_when_it_does_badly(trial: Trial) -> None:
    trial.move(ToCanary(at_ms=T0, **SAID))  # type: ignore[arg-type]
    trial.move(ToFull(at_ms=T0, **SAID))  # type: ignore[arg-type]
    trial.decided([decision(n, LIVE + n, 0.9, {}, model_version="v2") for n in range(100)])

    found = trial.look(LIVE + 1_000)

    assert found.rollout.phase is Phase.REVERTED
    assert read_champion(trial.settings.model_dir) == champion_of(trial.settings.model_dir, "v1")


def test_labels_count_when_all_of_their_hour_are_due_not_as_fraud_is_reported(trial: Trial) -> None:
    """Of a hundred payments two are fraud, reported at once; two days later nobody has said anything of the others."""
    trial.decided(calm(100))
    trial.labelled([fact(n, LIVE + 1_000, is_fraud=True) for n in (0, 1)])
    due_ms = LIVE + LABEL_DELAY_DAYS * DAY_MS

    reported = trial.look(LIVE + 2 * HOUR_MS)
    early = trial.seen("missed_value_share")
    trial.labelled([fact(n, due_ms + n, is_fraud=False) for n in range(2, 100)])
    trial.move(ToCanary(at_ms=LIVE + 3 * HOUR_MS, **SAID))  # type: ignore[arg-type]
    matured = trial.look(due_ms + HOUR_MS + SETTLED_MS)
    trial.look(due_ms + 2 * HOUR_MS + SETTLED_MS)

    assert reported.judgement is not None and reported.judgement.verdict is Verdict.GO_ON
    assert early == 0
    assert matured.judgement is not None
    missed = next(one for one in matured.judgement.findings if one.name == "missed_value_share")
    assert missed.estimate == pytest.approx(0.02)
    assert trial.seen("missed_value_share") == 100  # each once, and of the phase before: their labels are news
    assert trial.seen("false_positive_rate") == 98


def legitimate(numbers: Sequence[int]) -> list[LabelFact]:
    """Of the payments of `paid`, by silence."""
    return [fact(n, LIVE + n * MINUTE_MS + LABEL_DELAY_DAYS * DAY_MS, is_fraud=False) for n in numbers]


def paid(count: int) -> list[Decision]:
    """One a minute that both let through."""
    return [decision(n, LIVE + n * MINUTE_MS, 0.01, {"v2": 0.02}) for n in range(count)]


FRAUDS = (3, 70, 130)


def test_a_label_stage_that_is_hours_late_shows_no_hour_of_frauds_alone(trial: Trial) -> None:
    """Frauds are reported at once. The stage has come to the 65th minute: of the first hour all is known, of the second one fraud."""
    trial.decided(paid(240))
    trial.labelled([fact(n, LIVE + n * MINUTE_MS + 1, is_fraud=True) for n in FRAUDS])
    due_ms = LIVE + LABEL_DELAY_DAYS * DAY_MS
    trial.move(ToCanary(at_ms=LIVE + 5 * HOUR_MS, **SAID))  # type: ignore[arg-type]

    trial.look(due_ms + 6 * HOUR_MS)
    with_frauds_alone = trial.seen("missed_value_share")
    trial.labelled(legitimate([n for n in range(65) if n not in FRAUDS]))
    trial.look(due_ms + 7 * HOUR_MS)
    behind = (trial.seen("missed_value_share"), trial.seen("false_positive_rate"))
    trial.labelled(legitimate([n for n in range(65, 240) if n not in FRAUDS]))
    trial.look(due_ms + 8 * HOUR_MS)
    caught_up = (trial.seen("missed_value_share"), trial.seen("false_positive_rate"))

    assert with_frauds_alone == 0
    assert behind == (60, 59)  # from half a minute past the hour on
    assert caught_up == (240, 237)


def test_of_the_stages_partitions_the_one_that_is_furthest_behind_counts(trial: Trial) -> None:
    """One is done; the other has said nothing of what nobody reported."""
    trial.decided(paid(240))
    due_ms = LIVE + LABEL_DELAY_DAYS * DAY_MS
    trial.labelled(legitimate(range(0, 240, 2)), partition=0)
    trial.labelled([fact(n, LIVE + n * MINUTE_MS + 1, is_fraud=True) for n in FRAUDS if n % 2], partition=1)
    trial.move(ToCanary(at_ms=LIVE + 5 * HOUR_MS, **SAID))  # type: ignore[arg-type]

    trial.look(due_ms + 6 * HOUR_MS)
    one_is_behind = trial.seen("missed_value_share")
    trial.labelled(legitimate([n for n in range(1, 240, 2) if n not in FRAUDS]), partition=1)
    trial.look(due_ms + 7 * HOUR_MS)

    assert (one_is_behind, trial.seen("missed_value_share")) == (0, 240)


def test_a_quiet_partition_that_had_frauds_alone_is_waited_for_until_a_later_payment_of_its_own(trial: Trial) -> None:
    """Further on than the hours of one look: the rollout's labels do not stand still for ever."""
    fraud, later = decision(5_000, LIVE, 0.01, {"v2": 0.02}), decision(5_001, LIVE + 15 * HOUR_MS, 0.01, {"v2": 0.02})
    trial.decided([fraud, *paid(1_000)])
    due_ms = LIVE + LABEL_DELAY_DAYS * DAY_MS
    trial.labelled([fact(5_000, LIVE + 1, is_fraud=True)], partition=1)
    trial.labelled(legitimate([n for n in range(900) if n % 7]))
    trial.move(ToCanary(at_ms=LIVE + 20 * HOUR_MS, **SAID))  # type: ignore[arg-type]

    trial.look(due_ms + 20 * HOUR_MS)
    alone = trial.seen("missed_value_share")
    trial.decided([later])
    trial.labelled([fact(5_001, due_ms + 15 * HOUR_MS, is_fraud=False)], partition=1)
    trial.look(due_ms + 21 * HOUR_MS)

    assert (alone, trial.seen("missed_value_share") > 700) == (0, True)


def test_payments_that_never_came_about_have_no_label_and_hold_up_nobody(trial: Trial) -> None:
    """Every fifth was decided and then abandoned: the stage has never heard of it."""
    trial.decided(paid(240))
    due_ms = LIVE + LABEL_DELAY_DAYS * DAY_MS
    trial.labelled(legitimate([n for n in range(240) if n % 5]))
    trial.move(ToCanary(at_ms=LIVE + 5 * HOUR_MS, **SAID))  # type: ignore[arg-type]

    trial.look(due_ms + 6 * HOUR_MS)

    assert trial.seen("missed_value_share") == 192 * 180 // 240  # the fourth hour waits for a payment after it


def test_of_a_payment_that_was_denied_no_label_is_taken_and_a_retracted_one_is_the_last_word(trial: Trial) -> None:
    trial.decided([*calm(10), *[decision(10 + n, LIVE + n, 0.9, {"v2": 0.9}) for n in range(3)]])
    due_ms = LIVE + LABEL_DELAY_DAYS * DAY_MS
    trial.labelled([fact(n, due_ms, is_fraud=False) for n in range(13)])
    trial.labelled([fact(0, due_ms, is_fraud=False, sign=-1), fact(0, due_ms, is_fraud=True)])

    found = trial.look(due_ms + HOUR_MS + SETTLED_MS)

    assert found.judgement is not None
    missed = next(one for one in found.judgement.findings if one.name == "missed_value_share")
    assert missed.n == 10
    assert missed.estimate == pytest.approx(0.1)


def test_where_nothing_is_tried_nothing_is_watched(trial: Trial) -> None:
    trial.move(Rollback(at_ms=T0, **SAID))  # type: ignore[arg-type]
    trial.decided(calm(10))

    found = trial.look(LIVE)

    assert (found.place, found.judgement, found.rollout.phase) == (None, None, Phase.HALTED)


def test_a_watcher_takes_up_where_the_process_before_left_off(trial: Trial) -> None:
    """And begins anew where it finds something else there: nothing is counted twice, for nothing of before is kept."""
    kept = trial.settings.model_dir / "guard.json"
    trial.decided(calm(100))
    first = Watcher(trial.settings, kept).look(LIVE + 1_000)
    trial.decided(calm(20, first=100, at_ms=LIVE + 2_000))

    again = Watcher(trial.settings, kept).look(LIVE + 3_000)
    kept.write_text("of another version")
    anew = Watcher(trial.settings, kept).look(LIVE + 4_000)

    counted = [found.place.gathered.tests["deny_rate"].n for found in (first, again, anew) if found.place]
    assert counted == [100, 120, 120]


def test_a_look_by_hand_halts_a_bad_challenger_and_says_what_it_did(
    trial: Trial, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock, so the lake has decisions of now; in a canary, of which the challenger decided 40."""
    trial.move(ToCanary(at_ms=trial.now_ms() - 2 * FOLLOWED_MS, **SAID))  # type: ignore[arg-type]
    at_ms = trial.now_ms() - 20_000
    own = [decision(n, at_ms + n, 0.9, {"v1": 0.1}, model_version="v2") for n in range(40)]
    trial.decided([*own, *(decision(40 + n, at_ms + n, 0.1, {"v2": 0.9}) for n in range(400))])
    monkeypatch.setenv("FRAUD_VAR_DIR", str(trial.settings.var_dir))
    monkeypatch.setenv("FRAUD_LABEL_DELAY_DAYS", str(LABEL_DELAY_DAYS))

    status = main(["look"])

    said = json.loads(capsys.readouterr().out)
    assert status == 0
    assert (said["phase"], said["verdict"], said["own"]) == ("halted", "halt", 40)
    assert "more of all payments" in said["words"]


def test_a_look_opens_no_file_of_decisions_that_it_has_read(trial: Trial) -> None:
    """All but the last one of the partition are overwritten with what nobody can read."""
    for first in range(0, 300, 100):
        trial.decided(calm(100, first=first, at_ms=LIVE + first))
    trial.look(LIVE + 1_000)
    files = [Path(info.path) for _, info in trial.lake.files("decisions")]
    for path in files[:-1]:
        path.write_bytes(b"no Parquet file")
    trial.decided(calm(50, first=300, at_ms=LIVE + 2_000))

    trial.look(LIVE + 3_000)

    assert trial.seen("deny_rate") == 350
    with pytest.raises(pa.ArrowInvalid):
        trial.lake.scan("decisions")


def test_a_guard_that_was_off_for_days_comes_to_the_newest_decision_and_then_on(trial: Trial) -> None:
    """Over a day without any payment, by files of a few days at a time."""
    for day in (0, 1, 4):
        trial.decided(calm(40, first=100 * day, at_ms=LIVE + day * DAY_MS))
    at_ms = LIVE + 4 * DAY_MS + HOUR_MS

    looks = 0
    while trial.look(at_ms).rollout.phase is Phase.SHADOW:
        looks += 1
        assert looks < 10

    assert trial.log.entries()[-1].step.evidence["verdict"] == Verdict.GO_ON
    assert isinstance(trial.log.entries()[-1].step, ToCanary)
    (rate,) = [one for one in trial.log.entries()[-1].step.evidence["findings"] if one["name"] == "deny_rate"]
    assert rate["n"] == 120
