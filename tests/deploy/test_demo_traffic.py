"""The wait until the worker has taken up what was said."""

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from deploy.local import demo_traffic
from deploy.local.demo_traffic import NotDrained, catch_up

TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT))
REFUSED = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))


def looks(monkeypatch: pytest.MonkeyPatch, *found: int | KafkaException, within_s: float = 60.0) -> list[str]:
    """What is told while the broker, asked for the router's place, answers so; the label stage has come to its end."""
    answers: Iterator[int | KafkaException] = iter(found)

    def behind(_address: str, group: str, _goal: object) -> int:
        if group != demo_traffic.ROUTER_GROUP:
            return 0
        answer = next(answers)
        if isinstance(answer, KafkaException):
            raise answer
        return answer

    monkeypatch.setattr(demo_traffic, "ends", lambda *_: {})
    monkeypatch.setattr(demo_traffic, "_behind", behind)
    monkeypatch.setattr(demo_traffic, "_LOOK_S", 0.0)
    told: list[str] = []
    catch_up("nowhere:1", within_s, told.append)
    return told


def test_a_broker_that_does_not_answer_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(monkeypatch, 7, TIMED_OUT, 3, 0) == [
        "7 records to go",
        "the broker does not answer",
        "3 records to go",
    ]


def test_a_broker_that_refuses_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KafkaException):
        looks(monkeypatch, 7, REFUSED)


def test_who_is_still_behind_in_the_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotDrained, match="'fraud-worker': 7"):
        looks(monkeypatch, 7, within_s=-1.0)
