"""Dead letters as an operator meets them: listed, shown without harm, sent again once and never twice."""

import base64
import json
import subprocess
import sys
import uuid
from collections.abc import Callable

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.local.topics import ensure_topics
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.topics import DEAD_LETTER_REPLAYS, DEAD_LETTERS, TRANSACTIONS, entity_topic
from streaming.core.dead_letters import (
    Letter,
    NotALetter,
    Receipt,
    Replays,
    Step,
    letter_of,
    ours,
    printable,
    replay_record,
    why_not,
)
from streaming.core.records import DeadLetter, Record, Refusal, dead_letter_record
from streaming.dlq import app
from streaming.edges.broker import Sender
from streaming.edges.dead_letters import Letters
from tests.models.made import train
from tests.streaming.decided import decisions, records
from tests.streaming.events import DAY, T0, record, transaction
from tests.streaming.live import Log


def letter(refused: Record, reason: str = Refusal.FUTURE_DATED, offset: int = 7) -> Letter:
    """As it comes back from the topic."""
    sent = dead_letter_record(DEAD_LETTERS.name, DeadLetter(refused, reason, "event_time_ms", "why"))
    return letter_of(Record(sent.topic, 0, offset, T0, sent.key, sent.value, sent.headers))


def test_a_letter_holds_the_record_as_it_was() -> None:
    refused = record(b"\xff\x00{", 17, headers=[("trace", b"1"), ("trace", None)])

    found = letter(refused, "malformed_json")

    assert (found.key, found.value, found.headers) == (refused.key, refused.value, refused.headers)
    assert found.source == "transactions.v1/0/17"
    assert (found.reason, found.detail) == ("malformed_json", "why")


def test_a_senders_header_of_our_name_does_not_pass_for_ours() -> None:
    refused = record(transaction(), headers=[("reason", b"none"), ("source_topic", b"labels.v1")])

    found = letter(refused)

    assert (found.reason, found.source_topic) == ("future_dated", "transactions.v1")
    assert replay_record(found).headers[:2] == list(refused.headers)


@pytest.mark.parametrize("headers", [[], [("reason", b"x")], [(n, b"x") for n in ("reason", "field", "detail")]])
def test_a_strangers_record_is_no_letter(headers: list[tuple[str, bytes | None]]) -> None:
    with pytest.raises(NotALetter):
        letter_of(Record(DEAD_LETTERS.name, 0, 1, T0, b"", b"", headers))


def test_a_replay_keeps_key_bytes_and_headers_and_says_what_it_is() -> None:
    found = letter(record(transaction(), headers=[("trace", b"1"), ("replay_of", b"dead_letters.v1/0/2")]))

    sent = replay_record(found)

    assert (sent.topic, sent.key, sent.value) == ("transactions.v1", b"a1", encode(transaction()))
    assert sent.headers == [("trace", b"1"), ("replay_of", b"dead_letters.v1/0/7")]


def test_what_would_be_refused_again_is_told_before_it_is_sent() -> None:
    """Judged as an arrival of now: a payment that was ahead of the clock is not any more."""
    assert why_not(letter(record(transaction())), T0, DAY) is None
    assert "malformed_json" in str(why_not(letter(record(b"{")), T0, DAY))
    assert "wrong_key" in str(why_not(letter(record(transaction(), key=b"other")), T0, DAY))
    assert "future_dated" in str(why_not(letter(record(transaction(event_time_ms=T0 + 10**7))), T0, DAY))


def test_what_was_refused_for_its_id_is_replayed_once_such_ids_pass() -> None:
    """Nothing is lost by finding out late that one's ids look like cards."""
    refused = letter(record(transaction(account_id="4915200000003")), Refusal.CARD_NUMBER)

    assert "card_number" in str(why_not(refused, T0, DAY))
    assert why_not(refused, T0, DAY, "count") is None


def test_a_conflicting_duplicate_is_never_replayed() -> None:
    """After the horizon it would be accepted, and its purchase counted a second time."""
    assert "id of its own" in str(why_not(letter(record(transaction()), Refusal.CONFLICTING_DUPLICATE), T0, DAY))


@pytest.mark.parametrize("reason", [Refusal.OTHER_SCORE, Refusal.OTHER_VECTOR])
def test_a_decision_that_its_model_does_not_explain_is_not_replayed(reason: Refusal) -> None:
    """One whose model was not there is: it may be there now."""
    (decided,) = records(decisions(train(("a",), trees=1).booster_json, np.ones((1, 1))))

    assert "no better" in str(why_not(letter(decided, reason), T0, DAY))
    assert why_not(letter(decided, Refusal.UNKNOWN_MODEL), T0, DAY) is None


def test_a_decision_is_not_replayed_after_the_dedupe_horizon() -> None:
    """Its model came late: the lake, which has the decision, would take the replay for another one."""
    (decided,) = records(decisions(train(("a",), trees=1).booster_json, np.ones((1, 1))), arrival_ms=T0)

    assert why_not(letter(decided, Refusal.UNKNOWN_MODEL), T0 + DAY, DAY) is None
    assert "another one" in str(why_not(letter(decided, Refusal.UNKNOWN_MODEL), T0 + DAY + 1, DAY))


def test_an_entity_record_is_not_replayed_into_a_state_that_would_ignore_it() -> None:
    at = record(transaction(), topic=entity_topic("account").name)

    assert "online_store_snapshot" in str(why_not(letter(at, Refusal.FOREIGN_ENTITY_RECORD), T0, DAY))


def receipt(source: str, run: str, step: Step) -> Receipt:
    return Receipt(source=source, letter="0/7", run=run, step=step, at_ms=T0)


def test_of_two_replays_at_once_the_first_in_the_log_sends() -> None:
    log = [receipt("a", "one", Step.BEGUN), receipt("a", "two", Step.BEGUN), receipt("b", "two", Step.BEGUN)]

    assert (ours("one", log), ours("two", log)) == ({"a"}, {"b"})


def test_two_letters_of_one_refused_record_are_one_replay() -> None:
    """A crash makes the worker refuse a position again; sending both would double the event."""
    source = letter(record(transaction(), 5)).source
    before = Replays.of([receipt(source, "one", Step.SENT), receipt(source, "two", Step.BEGUN)])

    assert "replayed before" in str(before.why_not(letter(record(transaction(), 5), offset=9)))
    assert before.why_not(letter(record(transaction(), 6))) is None


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\u202egpj", "\x9b31m", "\r"])
def test_bytes_cannot_steer_the_terminal(hostile: str) -> None:
    assert printable(hostile.encode()).isprintable()
    assert printable(b"\xff ok") == "\\xff ok"


# ------------------------------------------------------------------------------- on a real broker


Dlq = Callable[..., tuple[int, str]]


@pytest.fixture
def dlq(bootstrap_servers: str) -> Dlq:
    ensure_topics(bootstrap_servers, [DEAD_LETTERS, TRANSACTIONS])

    def call(*words: str) -> tuple[int, str]:
        env = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "COLUMNS": "200"}
        result = CliRunner().invoke(app, words, env=env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return call


@pytest.fixture
def refuse(bootstrap_servers: str, dlq: Dlq) -> Callable[..., str]:
    """Put a record among the dead letters, as the worker does; the letter's name."""
    sender = Sender(bootstrap_servers)

    def put(refused: Record, reason: str = Refusal.FUTURE_DATED) -> str:
        sender.send([dead_letter_record(DEAD_LETTERS.name, DeadLetter(refused, reason, "field", "detail"))])
        sender.flush()
        return f"0/{Log(bootstrap_servers).ends([DEAD_LETTERS.name])[DEAD_LETTERS.name, 0] - 1}"

    return put


def payment() -> Record:
    """Of an account of its own, at a position of its own."""
    unique = uuid.uuid4()
    return record(transaction(account_id=f"a-{unique}"), unique.int % 10**15)


def arrived(bootstrap_servers: str, like: Record) -> list[Record]:
    return [one for one in Log(bootstrap_servers).read(TRANSACTIONS.name) if one.key == like.key]


def test_list_shows_where_and_why_and_no_payload(dlq: Dlq, refuse: Callable[..., str]) -> None:
    refused = payment()
    name = refuse(refused)

    code, told = dlq("list", "--since", "1h")

    assert code == 0
    line = next(line for line in told.splitlines() if f" {name} " in line)
    assert "future_dated" in line
    assert str(refused.offset) in line
    assert (refused.key or b"").decode() not in told


def test_filters_choose_and_json_is_one_object_a_line(dlq: Dlq, refuse: Callable[..., str]) -> None:
    reason = f"reason_{uuid.uuid4().hex[:8]}"
    first, _, last = refuse(payment(), reason), refuse(payment()), refuse(payment(), reason)

    found = [json.loads(line) for line in dlq("list", "--reason", reason, "--json")[1].splitlines()]

    assert [one["letter"] for one in found] == [first, last]
    assert found[0].keys() & {"value_base64", "key_base64"} == set()
    assert dlq("list", "--reason", reason, "--topic", "labels.v1", "--json") == (0, "")
    assert dlq("list", "--reason", reason, "--since", "2099-01-01", "--json") == (0, "")
    assert dlq("list", "--reason", reason, "--limit", "1", "--json")[1].count("\n") == 1


def test_show_gives_the_bytes_back_and_keeps_the_terminal_safe(dlq: Dlq, refuse: Callable[..., str]) -> None:
    hostile = b'{"note": "\x1b[2J[red]\xff' + b"x" * 5000
    name = refuse(record(hostile, headers=[("trace\x1b", b"\x1b")]), "malformed_json")

    code, told = dlq("show", name)
    shown = json.loads(dlq("show", name.removeprefix("0/"), "--json")[1])

    assert code == 0
    assert "\x1b" not in told
    assert "[red]" in told
    assert "bytes more" in told
    assert base64.b64decode(shown["value_base64"]) == hostile
    assert shown["headers"] == [{"name": "trace\x1b", "value_base64": base64.b64encode(b"\x1b").decode()}]


def test_replay_needs_yes_and_sends_once(dlq: Dlq, refuse: Callable[..., str], bootstrap_servers: str) -> None:
    refused = payment()._replace(headers=[("trace", b"1")])
    name, repeated = refuse(refused), refuse(refused)

    code, told = dlq("replay", name)
    assert (code, arrived(bootstrap_servers, refused)) == (2, [])
    assert "--yes" in told

    code, told = dlq("replay", name, repeated, "--yes")
    assert code == 0, told
    (sent,) = arrived(bootstrap_servers, refused)
    assert (sent.key, sent.value) == (refused.key, refused.value)
    assert list(sent.headers) == [("trace", b"1"), ("replay_of", f"dead_letters.v1/{name}".encode())]

    for one in (name, repeated):
        code, told = dlq("replay", one, "--yes")
        assert code == 1
        assert "replayed before" in told
    assert len(arrived(bootstrap_servers, refused)) == 1
    assert json.loads(dlq("show", name, "--json")[1])["replay"] == "sent"

    assert dlq("replay", name, "--yes", "--again")[0] == 0
    assert len(arrived(bootstrap_servers, refused)) == 2


def test_a_filter_replays_what_it_finds_and_tells_what_it_does_not(
    dlq: Dlq, refuse: Callable[..., str], bootstrap_servers: str
) -> None:
    reason, good, bad = f"reason_{uuid.uuid4().hex[:8]}", payment(), payment()._replace(value=b"{")
    refuse(good, reason)
    refuse(bad, reason)

    code, told = dlq("replay", "--reason", reason, "--yes")

    assert code == 1
    assert "1 replayed, 1 not" in told
    assert "malformed_json" in told
    assert len(arrived(bootstrap_servers, good)) == 1
    assert arrived(bootstrap_servers, bad) == []


def test_a_replay_that_was_interrupted_is_told_from_one_that_was_not(
    dlq: Dlq, refuse: Callable[..., str], bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command dies after it said that it begins: nobody sends by accident what may have been sent."""
    refused = payment()
    name = refuse(refused)
    with monkeypatch.context() as patched:
        patched.setattr("streaming.edges.dead_letters.replay_record", lambda _: sys.exit(9))
        assert dlq("replay", name, "--yes")[0] == 9

    code, told = dlq("replay", name, "--yes")

    assert code == 1
    assert "not confirmed" in told
    assert dlq("replay", name, "--yes", "--again")[0] == 0
    assert len(arrived(bootstrap_servers, refused)) == 1


def test_two_people_at_once_send_it_once(
    dlq: Dlq, refuse: Callable[..., str], bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked and found no replay; the second begins while the first has begun."""
    refused = payment()
    name = refuse(refused)
    first, second = Letters(bootstrap_servers), Letters(bootstrap_servers)
    found = first.one(0, int(name.removeprefix("0/")))
    dlq("replay", refuse(payment()), "--yes")  # so that the log of replays is there
    seen = second._ends(DEAD_LETTER_REPLAYS.name)
    with monkeypatch.context() as patched:
        patched.setattr(second, "_ends", lambda _: seen)
        assert first.replay([found]) == [found]
        assert second.replay([found]) == []

    assert len(arrived(bootstrap_servers, refused)) == 1
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "999999999"], "there is no dead letter 0/999999999: partition 0"),
        (["show", "5/1"], "no such partition"),
        (["show", "x"], "PARTITION/OFFSET"),
        (["list", "--since", "yesterday"], "90m, 12h"),
        (["replay", "--yes"], "either letters"),
        (["replay", "0/1", "--reason", "x", "--yes"], "either letters"),
        (["replay", "999999999", "--yes"], "there is no dead letter"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(dlq: Dlq, words: list[str], says: str) -> None:
    code, told = dlq(*words)

    assert code == 2
    assert says in " ".join(told.replace("│", " ").split())


def test_without_a_broker_the_command_says_so_and_ends(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.edges.dead_letters.ANSWER_WITHIN_S", 1.0)
    env = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port}"}

    for words in (["list"], ["show", "1"], ["replay", "1", "--yes"]):
        result = CliRunner().invoke(app, words, env=env)

        assert result.exit_code == 3
        assert "no broker answers" in result.output


def test_the_worker_answers_to_dlq() -> None:
    words = [sys.executable, "-m", "streaming", "dlq", "replay", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)

    assert "--yes" in done.stdout
