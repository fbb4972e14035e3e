"""Every kind of record has one outcome: accepted, marked a duplicate, or a dead letter with its bytes."""

import msgspec
import pytest

from fraud_assets.contracts.cards import CardsInIds
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Event, Transaction
from fraud_assets.contracts.tokens import tokenise
from fraud_assets.contracts.topics import DEAD_LETTERS
from fraud_assets.features.catalogue.ticketing import registry
from streaming.core.dedupe import First, identity_hash, payload_hash
from streaming.core.records import Record
from streaming.core.rekey import ReKeyer, origin_of
from streaming.core.route import Routed, Router
from tests.streaming.events import (
    DAY,
    KEY,
    MINUTE,
    POISON,
    T0,
    FakeHistory,
    FakeSeen,
    activity,
    label,
    profile,
    record,
    transaction,
)

HORIZON = DAY


@pytest.fixture
def seen() -> FakeSeen:
    return FakeSeen()


@pytest.fixture
def history() -> FakeHistory:
    return FakeHistory()


@pytest.fixture
def router(seen: FakeSeen, history: FakeHistory) -> Router:
    return Router(ReKeyer(registry()), seen, history, HORIZON, KEY)


@pytest.mark.parametrize("reason", POISON)
def test_poison_becomes_a_dead_letter_with_exactly_its_bytes(router: Router, reason: str) -> None:
    poison = record(POISON[reason], offset=7, headers=[("trace", b"abc")])

    routed = router.route([poison])

    (sent,) = routed.sends
    assert (sent.topic, sent.key, sent.value) == (DEAD_LETTERS.name, b"a1", POISON[reason])
    headers = dict(sent.headers)
    assert headers["reason"] == reason.encode()
    assert (headers["source_topic"], headers["source_partition"]) == (b"transactions.v1", b"0")
    assert (headers["source_offset"], headers["trace"]) == (b"7", b"abc")
    assert routed.accepted == []


RAW = {"card_token": "4111 1111 1111 1111", "email_token": "Somebody@example.com", "ip_token": "203.0.113.77"}


def test_what_a_source_sends_raw_is_a_token_behind_the_router(router: Router) -> None:
    """The same token that the scorer makes of it; in the lake, in entity records and in their keys."""
    routed = router.route([record(transaction(**RAW))])

    (accepted,) = routed.accepted
    assert isinstance(accepted.event, Transaction)
    for name, value in RAW.items():
        assert getattr(accepted.event, name) == tokenise(name.removesuffix("_token"), value, KEY)  # type: ignore[arg-type]
    behind = [raw for sent in routed.sends for raw in (sent.key, sent.value) if raw] + [encode(accepted.event)]
    assert len(routed.sends) > 5
    for planted in (b"4111", b"omebody@", b"203.0.113.77"):
        assert not [raw for raw in behind if planted in raw]


def test_a_copy_with_tokens_is_a_duplicate_of_a_raw_one(router: Router) -> None:
    """A source that mends itself and publishes again changes nothing."""
    tokens = {name: tokenise(name.removesuffix("_token"), value, KEY) for name, value in RAW.items()}  # type: ignore[arg-type]

    routed = router.route([record(transaction(**RAW)), record(transaction(**tokens), offset=1)])

    assert [one.is_duplicate for one in routed.accepted] == [False, True]


@pytest.mark.parametrize(
    ("name", "value"),
    [("card_token", "4111"), ("card_token", "k1:411x"), ("card_token", "k1:4111111111111111"), ("email_token", "nobody"), ("ip_token", "dev:"), ("ip_token", "1.2.3")],
)  # fmt: skip
def test_neither_a_token_nor_what_one_is_made_of_is_poison(router: Router, name: str, value: str) -> None:
    """The reason names the field and the fix, and not the value."""
    routed = router.route([record(transaction(**{name: value}))])

    (letter,) = routed.dead_letters
    assert (letter.reason, letter.field, routed.accepted) == ("invalid_value", name, [])
    assert "<key id>:<hex>" in letter.detail and value not in letter.detail


@pytest.mark.parametrize("spelled", ["4111111111111111", "4111 1111 1111 1111", "a4111-1111-1111-1111"])
@pytest.mark.parametrize(
    "event", [transaction(), activity(device_id="d1"), profile(), label()], ids=lambda event: type(event).__name__
)
def test_an_id_that_holds_a_card_number_is_refused(router: Router, event: Event, spelled: str) -> None:
    """Every id of every raw event, the one that is the key too; the reason names the field and the fix, and not the value."""
    names = [name for name in event.__struct_fields__ if name.endswith("_id")]
    for offset, name in enumerate(names):
        routed = router.route([record(msgspec.structs.replace(event, **{name: spelled}), offset)])

        (letter,) = routed.dead_letters
        assert (letter.reason, letter.field, routed.accepted) == ("card_number", name, [])
        assert spelled not in letter.detail


@pytest.mark.parametrize(("rule", "fields"), [("count", ("account_id", "device_id")), ("off", ())])
def test_an_id_that_looks_like_a_card_number_goes_on_where_ids_do(
    seen: FakeSeen, history: FakeHistory, rule: CardsInIds, fields: tuple[str, ...]
) -> None:
    """With the others of its event, under its own key; how often is counted, unless nobody wants to know."""
    router = Router(ReKeyer(registry()), seen, history, HORIZON, KEY, rule)
    named = {"account_id": "4915200000003", "device_id": "4111111111111111"}

    said = label(account_id=named["account_id"], event_time_ms=T0)
    routed = router.route([record(transaction(**named)), record(said, 1)])

    assert routed.dead_letters == []
    assert [one.card_like for one in routed.accepted] == [fields, fields[:1]]
    assert {sent.key for sent in routed.sends} >= {b"4915200000003", b"4111111111111111"}


def test_a_user_agent_loses_a_card_number_and_its_event_goes_on(router: Router) -> None:
    """A buyer's browser may say anything, and shall cost nobody an event; behind the router the number is nowhere."""
    agent = "Mozilla/5.0 (4111 1111 1111 1111) Safari/4111111111111111"

    routed = router.route([record(transaction(user_agent=agent))])

    (accepted,) = routed.accepted
    assert accepted.was_raw
    assert accepted.event.user_agent == "Mozilla/5.0 ([card number]) Safari/[card number]"  # type: ignore[attr-defined]
    assert len(routed.sends) > 5
    assert not [sent for sent in routed.sends if b"4111" in (sent.value or b"")]


def test_a_tombstone_is_poison_of_no_bytes(router: Router) -> None:
    (sent,) = router.route([record(b"", value=None)]).sends

    assert (sent.topic, sent.value) == (DEAD_LETTERS.name, None)


def test_a_record_keyed_by_another_account_is_refused(router: Router) -> None:
    """It may lie in another partition than its copies, so its order and its duplicates are lost."""
    assert reasons(router.route([record(transaction(), key=b"a2")])) == ["wrong_key"]
    assert reasons(router.route([record(transaction(), key=None, offset=1)])) == ["wrong_key"]


def test_poison_between_good_events_stops_nobody(router: Router) -> None:
    routed = router.route([record(transaction()), record(b"junk", 1), record(transaction(transaction_id="t2"), 2)])

    assert [accepted.record.offset for accepted in routed.accepted] == [0, 2]
    assert reasons(routed) == ["malformed_json"]


def test_events_from_the_future_are_quarantined_before_any_state(router: Router, seen: FakeSeen) -> None:
    """Five minutes after arrival is the last moment; a quarantined event claims no identity."""
    arrival = T0
    at_bound = transaction(event_time_ms=arrival + 5 * MINUTE)
    beyond = transaction(event_time_ms=arrival + 5 * MINUTE + 1, transaction_id="t2")

    routed = router.route([record(at_bound, 0, arrival), record(beyond, 1, arrival)])

    assert [accepted.record.offset for accepted in routed.accepted] == [0]
    assert reasons(routed) == ["future_dated"]
    assert len(seen.packed) == 1


def test_a_profile_may_be_valid_from_tomorrow(router: Router) -> None:
    routed = router.route([record(profile(event_time_ms=T0 + DAY))])

    assert reasons(routed) == []
    assert topics_of(routed) == ["entity.account.v1"]


def test_an_event_a_day_late_is_accepted(router: Router) -> None:
    assert len(router.route([record(transaction(), 0, T0 + DAY)]).accepted) == 1


def test_one_record_per_entity_with_the_position_in_its_headers(router: Router) -> None:
    """A transaction names nine entity types; each gets the event's own bytes and its origin."""
    original = record(transaction(), offset=3)

    routed = router.route([original])

    keys = {send.topic: send.key for send in routed.sends}
    assert len(keys) == len(routed.sends) == 9
    assert keys["entity.account.v1"] == b"a1"
    assert keys["entity.account_event.v1"] == b"a1|e1"
    for send in routed.sends:
        assert send.value == original.value
        assert origin_of(Record(send.topic, 0, 0, 0, send.key, send.value, send.headers)) == (
            "transactions.v1",
            0,
            3,
            T0 + 1000,
        )


def test_an_entity_that_an_event_does_not_name_gets_no_record(router: Router) -> None:
    routed = router.route([record(transaction(card_token=None)), record(activity(account_id=None))])

    assert "entity.card.v1" not in topics_of(routed)
    assert "entity.account_card.v1" not in topics_of(routed)
    assert topics_of(routed).count("entity.event.v1") == 2


def test_labels_go_to_the_lake_and_to_no_entity(router: Router) -> None:
    """Their facts do, once the label stage has joined them."""
    routed = router.route([record(label(), 0, T0 + 2 * DAY)])

    assert (len(routed.accepted), routed.sends) == (1, [])


def test_a_copy_is_kept_with_its_verdict_and_is_not_rekeyed(router: Router) -> None:
    routed = router.route([record(transaction()), record(transaction(), 1)])

    assert [accepted.is_duplicate for accepted in routed.accepted] == [False, True]
    assert len(routed.sends) == 9


def test_the_same_identity_with_another_payload_is_a_conflicting_duplicate(router: Router) -> None:
    routed = router.route([record(transaction()), record(transaction(amount_minor=1), 1)])

    assert reasons(routed) == ["conflicting_duplicate"]
    assert [accepted.record.offset for accepted in routed.accepted] == [0]


def test_two_accounts_may_use_one_transaction_id(router: Router) -> None:
    routed = router.route([record(transaction()), record(transaction(account_id="a2"), 1)])

    assert [accepted.is_duplicate for accepted in routed.accepted] == [False, False]


def test_routing_again_after_a_crash_gives_the_same_verdicts_and_records(seen: FakeSeen, history: FakeHistory) -> None:
    """Nothing was committed: another process routes the same records with the same store."""
    log = [record(transaction()), record(transaction(), 1), record(transaction(amount_minor=1), 2)]
    first = Router(ReKeyer(registry()), seen, history, HORIZON, KEY).route(log)

    again = Router(ReKeyer(registry()), seen, history, HORIZON, KEY).route(log)

    assert again == first


def test_arrival_never_steps_back_within_a_partition(router: Router) -> None:
    routed = router.route([record(transaction(), 0, T0 + 9), record(transaction(transaction_id="t2"), 1, T0 + 5)])

    assert [accepted.arrival_ms for accepted in routed.accepted] == [T0 + 9, T0 + 9]


def test_the_arrival_clock_survives_a_restart(seen: FakeSeen, history: FakeHistory) -> None:
    Router(ReKeyer(registry()), seen, history, HORIZON, KEY).route([record(transaction(), 0, T0 + 9)])

    (accepted,) = (
        Router(ReKeyer(registry()), seen, history, HORIZON, KEY)
        .route([record(transaction(transaction_id="t2"), 1, T0 + 5)])
        .accepted
    )

    assert accepted.arrival_ms == T0 + 9


def test_a_replay_dates_no_record_by_those_behind_it(seen: FakeSeen, history: FakeHistory) -> None:
    """Another process, or the same one when its partitions come back, reads again what was judged and not committed."""
    log = [record(transaction(transaction_id=f"t{n}"), n, T0 + 100 * n) for n in range(6)]
    router = Router(ReKeyer(registry()), seen, history, HORIZON, KEY)
    first = router.route(log)

    assert router.route(log[:3]) == Router(ReKeyer(registry()), seen, history, HORIZON, KEY).route(log[:3])
    assert router.route(log) == first


def test_a_mark_that_does_not_reach_back_is_not_trusted(history: FakeHistory) -> None:
    """A process that began in the middle, with nothing to remember, marks only what it saw."""
    seen = FakeSeen()
    log = [record(transaction(transaction_id=f"t{n}"), n, T0 + at) for n, at in enumerate((100, 50, 50, 60))]
    Router(ReKeyer(registry()), seen, history, HORIZON, KEY).route(log[3:])
    history.found["transactions.v1", 0] = {}, T0 + 100

    routed = Router(ReKeyer(registry()), seen, history, HORIZON, KEY).route(log[1:])

    assert [one.arrival_ms for one in routed.accepted] == [T0 + 100] * 3


def test_a_lost_dedupe_store_is_refilled_from_the_lake(history: FakeHistory) -> None:
    """A flushed store must not turn copies into news: what the lake accepted counts."""
    first = First(0, T0 + 1000, payload_hash(transaction()))
    history.found["transactions.v1", 0] = {identity_hash("transactions.v1", "a1", "t1"): first}, T0 + 1000

    routed = Router(ReKeyer(registry()), FakeSeen(), history, HORIZON, KEY).route([record(transaction(), 4)])

    assert [accepted.is_duplicate for accepted in routed.accepted] == [True]


def test_a_store_that_is_behind_the_batch_is_not_trusted(seen: FakeSeen, history: FakeHistory) -> None:
    """A failover may lose acknowledged writes: a mark below the batch asks the lake; one at it does not."""
    router = Router(ReKeyer(registry()), seen, history, HORIZON, KEY)
    router.route([record(transaction())])
    router.route([record(transaction(transaction_id="t2"), 1)])
    assert history.asked == []

    router.route([record(transaction(transaction_id="t3"), 9)])

    assert history.asked == [("transactions.v1", 0)]


def reasons(routed: Routed) -> list[str]:
    return [letter.reason for letter in routed.dead_letters]


def topics_of(routed: Routed) -> list[str]:
    return [send.topic for send in routed.sends]
