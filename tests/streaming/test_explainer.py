"""The explainer's process without its broker: nothing is skipped, nothing is sent twice with other bytes."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY
from quixstreams.sinks.base import SinkBackpressureError

from fraud_assets.contracts.codec import decode
from fraud_assets.contracts.events import Explanation, FeatureVector
from fraud_assets.contracts.topics import DEAD_LETTERS, DECISIONS, EXPLANATIONS, FEATURE_VECTORS
from fraud_assets.models.artifact import write_artifact
from fraud_assets.models.manifest import RefusedModel
from streaming.core.dead_letters import letter_of
from streaming.core.records import Record, Refusal, Send
from streaming.core.sources import MAX_DECISION_BYTES
from streaming.edges.boosters import Booster, Boosters, ModelName
from streaming.explainer import Explainer, ExplainSink
from tests.models.made import Trained, train
from tests.streaming.decided import before, decisions, nulls, records
from tests.streaming.events import KEY, T0

PATIENCE_S = 60.0


class Sent:
    """What was sent; `delivered` once it was flushed."""

    def __init__(self) -> None:
        self.pending: list[Send] = []
        self.delivered: list[Send] = []

    def send(self, made: Iterable[Send]) -> None:
        self.pending.extend(made)

    def flush(self) -> None:
        self.delivered += self.pending
        self.pending = []

    def of(self, topic: str) -> list[Send]:
        return [one for one in self.delivered if one.topic == topic]

    def reasons(self) -> list[str]:
        return [(dict(one.headers)["reason"] or b"").decode() for one in self.of(DEAD_LETTERS.name)]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def sink_of(model_dir: Path, sent: Sent, clock: Clock) -> ExplainSink:
    explainer = Explainer(Boosters(model_dir), sent, PATIENCE_S, clock)
    return ExplainSink(explainer, KEY)


def flushed(sink: ExplainSink, taken: Iterable[Record]) -> None:
    for one in taken:
        sink.take(one)
    sink.flush()


def test_each_decision_gets_its_explanation_and_its_vector_keyed_by_account(model_dir: Path, trained: Trained) -> None:
    sent, made = Sent(), decisions(trained.booster_json, trained.rows[:12])

    flushed(sink_of(model_dir, sent, Clock()), records(made))

    told = [decode(Explanation, one.value or b"", max_bytes=MAX_DECISION_BYTES) for one in sent.of(EXPLANATIONS.name)]
    served = [
        decode(FeatureVector, one.value or b"", max_bytes=MAX_DECISION_BYTES) for one in sent.of(FEATURE_VECTORS.name)
    ]
    assert [one.decision_id for one in told] == [one.decision_id for one in served] == [one.decision_id for one in made]
    assert [one.features for one in served] == [nulls(row) for row in trained.rows[:12]]
    keys = [one.account_id.encode() for one in made]
    assert [one.key for one in sent.of(EXPLANATIONS.name)] == [one.key for one in sent.of(FEATURE_VECTORS.name)] == keys
    assert {one.event_time_ms for one in told} == {one.event_time_ms for one in made}
    assert sent.of(DEAD_LETTERS.name) == []


def test_whichever_way_a_vector_is_said_what_is_sent_of_it_is_the_same(model_dir: Path, trained: Trained) -> None:
    made, first, again = decisions(trained.booster_json, trained.rows[:4]), Sent(), Sent()

    flushed(sink_of(model_dir, first, Clock()), records(made))
    flushed(sink_of(model_dir, again, Clock()), records(list(map(before, made))))

    assert again.delivered == first.delivered


def test_a_decision_whose_bytes_are_no_vector_is_a_dead_letter_and_sends_none(
    model_dir: Path, trained: Trained
) -> None:
    made, sent = decisions(trained.booster_json, trained.rows[:3]), Sent()
    made[1] = msgspec.structs.replace(made[1], vector=b"abc")

    flushed(sink_of(model_dir, sent, Clock()), records(made))

    assert sent.reasons() == [Refusal.OTHER_VECTOR]
    assert [len(sent.of(topic.name)) for topic in (FEATURE_VECTORS, EXPLANATIONS)] == [2, 2]


def test_a_replay_gives_the_same_bytes_however_it_is_batched(model_dir: Path, trained: Trained) -> None:
    made = records(decisions(trained.booster_json, trained.rows[:9]))
    first, again = Sent(), Sent()

    flushed(sink_of(model_dir, first, Clock()), made)
    sink = sink_of(model_dir, again, Clock())
    for start in range(0, 9, 2):
        flushed(sink, made[start : start + 2])

    assert again.delivered == first.delivered


def test_decisions_of_several_models_keep_the_order_of_the_log(model_dir: Path, trained: Trained) -> None:
    other = train(trained.names, trees=3)
    write_artifact(model_dir / "v2", other.booster_json, other.manifest("v2"))
    one, two = decisions(trained.booster_json, trained.rows[:4]), decisions(other.booster_json, trained.rows[:4], "v2")
    mixed, sent = [one[0], two[1], one[2], two[3]], Sent()

    flushed(sink_of(model_dir, sent, Clock()), records(mixed))

    told = [msgspec.json.decode(made.value or b"", type=Explanation) for made in sent.of(EXPLANATIONS.name)]
    assert [(made.decision_id, made.model_version) for made in told] == [
        ("dec-0", "v1"), ("dec-1", "v2"), ("dec-2", "v1"), ("dec-3", "v2"),
    ]  # fmt: skip


def test_decisions_of_a_model_that_is_not_there_yet_wait_for_it(model_dir: Path, trained: Trained) -> None:
    late = train(trained.names, trees=3)
    made = records(decisions(late.booster_json, trained.rows[:3], "late"))
    sent, clock = Sent(), Clock()
    sink = sink_of(model_dir, sent, clock)

    with pytest.raises(SinkBackpressureError):
        flushed(sink, made)
    clock.now_s += PATIENCE_S - 1
    with pytest.raises(SinkBackpressureError):
        flushed(sink, made)
    assert sent.delivered == sent.pending == []
    write_artifact(model_dir / "late", late.booster_json, late.manifest("late"))
    flushed(sink, made)

    assert len(sent.of(EXPLANATIONS.name)) == 3
    assert sent.of(DEAD_LETTERS.name) == []


def test_after_its_patience_they_are_dead_letters_and_others_go_on(model_dir: Path, trained: Trained) -> None:
    """Each with the decision's own bytes, so that a replay explains it once the model is there."""
    lost = decisions(trained.booster_json, trained.rows[:2], "lost")
    mixed = records([lost[0], *decisions(trained.booster_json, trained.rows[2:3]), lost[1]])
    sent, clock = Sent(), Clock()
    sink = sink_of(model_dir, sent, clock)
    with pytest.raises(SinkBackpressureError):
        flushed(sink, mixed)

    clock.now_s += PATIENCE_S
    flushed(sink, mixed)

    assert len(sent.of(EXPLANATIONS.name)) == 1
    assert sent.reasons() == [Refusal.UNKNOWN_MODEL] * 2
    letters = [
        letter_of(Record(one.topic, 0, 0, T0, one.key, one.value, one.headers)) for one in sent.of(DEAD_LETTERS.name)
    ]
    assert [(one.source_topic, one.source_offset, one.value) for one in letters] == [
        (DECISIONS.name, 0, mixed[0].value),
        (DECISIONS.name, 2, mixed[2].value),
    ]
    assert "unreadable" in letters[0].detail


class Folder:
    """A model folder that somebody takes away and brings back."""

    def __init__(self, booster_json: bytes) -> None:
        self.booster = Booster(booster_json)
        self.is_there = True

    def get(self, name: ModelName) -> Booster:
        if not self.is_there:
            raise RefusedModel("unreadable", "away")
        return self.booster


def test_a_model_that_came_back_gets_its_patience_again(trained: Trained) -> None:
    made, sent, clock = records(decisions(trained.booster_json, trained.rows[:1])), Sent(), Clock()
    folder = Folder(trained.booster_json)
    sink = ExplainSink(Explainer(folder, sent, PATIENCE_S, clock), KEY)
    folder.is_there = False
    with pytest.raises(SinkBackpressureError):
        flushed(sink, made)
    folder.is_there = True
    flushed(sink, made)
    folder.is_there = False
    clock.now_s += 2 * PATIENCE_S

    with pytest.raises(SinkBackpressureError):
        flushed(sink, made)


def test_a_score_of_another_model_is_a_dead_letter_and_its_vector_still_goes_out(
    model_dir: Path, trained: Trained
) -> None:
    right, wrong = decisions(trained.booster_json, trained.rows[:2])
    sent = Sent()

    flushed(sink_of(model_dir, sent, Clock()), records([right, msgspec.structs.replace(wrong, fraud_score=0.123)]))

    assert sent.reasons() == [Refusal.OTHER_SCORE]
    assert len(sent.of(EXPLANATIONS.name)) == 1
    assert len(sent.of(FEATURE_VECTORS.name)) == 2


def test_what_the_router_refuses_is_not_explained_and_refused_once(model_dir: Path, trained: Trained) -> None:
    """Bytes that are no decision, and a decision under another account's key: their dead letters are the router's."""
    (good,) = records(decisions(trained.booster_json, trained.rows[:1]))
    sent = Sent()

    flushed(
        sink_of(model_dir, sent, Clock()),
        [good, good._replace(offset=1, value=b"{"), good._replace(offset=2, key=b"other"), good._replace(value=None)],
    )

    assert len(sent.of(EXPLANATIONS.name)) == 1
    assert sent.of(DEAD_LETTERS.name) == []


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


def test_metrics_say_how_many_are_explained_how_late_and_whether_they_wait(model_dir: Path, trained: Trained) -> None:
    right, wrong, lost = decisions(trained.booster_json, trained.rows[:3])
    wrong = msgspec.structs.replace(wrong, fraud_score=0.123)
    explained, late = metric("fraud_worker_explained_total"), metric("fraud_worker_explanation_lag_seconds_count")
    sink = sink_of(model_dir, Sent(), Clock())

    with pytest.raises(SinkBackpressureError):
        flushed(sink, records([msgspec.structs.replace(lost, model_version="lost")]))
    assert metric("fraud_worker_waiting_for_model") == 1
    flushed(sink, records([right, wrong]))

    assert metric("fraud_worker_waiting_for_model") == 0
    assert metric("fraud_worker_explained_total") == explained + 1
    assert metric("fraud_worker_explanation_lag_seconds_count") == late + 2
