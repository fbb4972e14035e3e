"""A card number in an id or in free text is found however it is spelled, and an ordinary id is taken for none."""

import random
import uuid
from collections.abc import Callable

import msgspec
import pytest

from fraud_assets.contracts.cards import HoldsCard, holds_card, may_hold_cards, on_card, redacted, without_cards
from fraud_assets.contracts.codec import MAX_FIELD_CHARS, BadEvent, decode
from fraud_assets.contracts.events import Decision, Explanation, Transaction
from tests.streaming.events import transaction

# Numbers that issuers and payment services publish for tests.
PUBLISHED = {
    "Visa": "4111111111111111",
    "Visa, 13": "4222222222222",
    "Mastercard": "5555555555554444",
    "Mastercard, 2": "2223003122003222",
    "American Express": "378282246310005",
    "Diners Club": "30569309025904",
    "Discover": "6011111111111117",
    "JCB": "3530111333300000",
    "UnionPay": "6200000000000005",
    "UnionPay, 19": "6205500000000000004",
    "Maestro": "6759649826438453",
}


@pytest.mark.parametrize("number", PUBLISHED.values(), ids=PUBLISHED)
def test_every_issuers_number_is_found(number: str) -> None:
    """And with one digit changed it is no card's."""
    wrong = f"{number[:-1]}{(int(number[-1]) + 1) % 10}"

    assert holds_card(number)
    assert not holds_card(wrong)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("4111 1111 1111 1111", "[card number]"),
        ("4111-1111-1111-1111", "[card number]"),
        ("4111  -1111--1111 1111", "[card number]"),
        ("acct_4111111111111111", "acct_[card number]"),
        ("a4111111111111111", "a[card number]"),
        ("\u00fcber4111111111111111\u00fc", "\u00fcber[card number]\u00fc"),
        ("2024 4111 1111 1111 1111 2026", "2024 [card number] 2026"),
        ("4111111111111111,5555555555554444", "[card number],[card number]"),
        ("4111111111111111 5555555555554444", "[card number] [card number]"),
        ("Mozilla/5.0 (X11) 4111111111111111 Safari/537.36", "Mozilla/5.0 (X11) [card number] Safari/537.36"),
    ],
)
def test_a_number_is_found_among_other_text(text: str, left: str) -> None:
    assert holds_card(text)
    assert redacted(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "", "a1", "order-1", "2026-11-28-000123", "1767225600000", "1767225600000000", "411111111111", "41111111111111111111111",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.6478.127 Safari/537.36",
        "c0ffee4111111111111111aa", "9f41111111-1111-1111-0000-4111111111111111a"[2:38],
    ],
)  # fmt: skip
def test_what_is_no_card_stays_as_it_is(text: str) -> None:
    """Also the digits of a hash, and numbers that are too long or of no issuer."""
    assert not holds_card(text)
    assert redacted(text) == text


# How many of a hundred thousand ids may be refused; docs/bad-input.md says what was measured.
ORDINARY: dict[str, tuple[Callable[[random.Random], str], int]] = {
    "a UUID": (lambda chance: str(uuid.UUID(int=chance.getrandbits(128))), 0),
    "a hash": (lambda chance: f"{chance.getrandbits(128):032x}", 1),
    "an object id": (lambda chance: f"{chance.getrandbits(96):024x}", 5),
    "16 hex digits": (lambda chance: f"dev_{chance.getrandbits(64):016x}", 20),
    "milliseconds": (lambda chance: str(chance.randrange(1_500_000_000_000, 1_900_000_000_000)), 0),
    "a snowflake": (lambda chance: str(chance.randrange(10**18, 2 * 10**18)), 0),
    "up to 11 digits": (lambda chance: str(chance.randrange(10**11)), 0),
    "12 digits": (lambda chance: str(chance.randrange(10**11, 10**12)), 1_000),
    "16 digits": (lambda chance: str(chance.randrange(10**15, 10**16)), 5_000),
    "19 digits": (lambda chance: str(chance.randrange(10**18, 10**19)), 3_500),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_ids_are_hardly_ever_taken_for_cards(kind: str) -> None:
    """Random digits of a card's length are, as often as chance makes them one."""
    make, most = ORDINARY[kind]
    chance = random.Random(7)

    assert sum(holds_card(make(chance)) for _ in range(100_000)) <= most


def test_an_id_is_refused_by_its_name_and_not_by_its_value() -> None:
    with pytest.raises(HoldsCard, match="device_id") as refused:
        without_cards(transaction(device_id="4111 1111 1111 1111"))

    assert "4111" not in str(refused.value)


def test_telephone_numbers_that_begin_as_cards_do_pass_once_the_setting_says_so() -> None:
    """One in ten of them passes Luhn's check, each time: nobody could ever pay under it."""
    numbers = [str(number) for number in range(4_915_200_000_000, 4_915_200_001_000)]
    taken = [number for number in numbers if holds_card(number)]
    event = transaction(account_id=taken[0], user_agent=f"({taken[0]})")
    counted, unseen = list[str](), list[str]()

    passed = without_cards(event, on_card("count", counted)), without_cards(event, on_card("off", unseen))

    assert len(taken) == 100
    assert [(one.account_id, one.user_agent) for one in passed] == [(taken[0], "([card number])")] * 2
    assert (counted, unseen) == (["account_id"], [])
    with pytest.raises(HoldsCard, match="FRAUD_CARDS_IN_IDS=count"):
        without_cards(event, on_card("refuse", []))


def test_an_event_without_cards_is_the_same_event() -> None:
    """Not a copy: that nothing was taken out is seen by that."""
    for event in (transaction(), transaction(user_agent="x" * 512), transaction(account_id="1767225600000")):
        assert without_cards(event) is event


def test_free_text_still_fits_its_contract_without_its_cards() -> None:
    """The words for a card may be longer than its number."""
    full = ("4222222222222 " * 40)[:512]

    cleaned = without_cards(transaction(user_agent=full))

    assert not holds_card(cleaned.user_agent)
    assert msgspec.convert(msgspec.to_builtins(cleaned), Transaction) == cleaned


@pytest.mark.parametrize("contract", [Decision, Explanation])
def test_what_is_made_of_checked_events_is_left_as_it_is(contract: type[Decision | Explanation]) -> None:
    """A chain is over a decision's bytes: taking something out would make it an altered one."""
    fields = dict.fromkeys(contract.__struct_fields__, "4111111111111111")
    event = msgspec.structs.replace(_any(contract), **fields)

    assert without_cards(event) is event


def _any(contract: type[Decision | Explanation]) -> Decision | Explanation:
    return contract(**{name: None for name in contract.__struct_fields__ if name != "schema_version"})  # type: ignore[arg-type]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text", ["1 " * 100_000, "4111111111111111 " * 20_000, "9-" * 100_000], ids=["groups", "cards", "dashes"]
)
def test_a_text_made_to_be_slow_is_not(text: str) -> None:
    """Every group of digits might begin a card; whoever sends a hundred thousand of them must not stop the process."""
    cleaned = redacted(text)

    assert ("4111" in text) == ("[card number]" in cleaned) == (cleaned != text)
    assert not holds_card(cleaned)


@pytest.mark.timeout(60)
def test_the_name_of_an_unknown_field_is_cut_before_it_is_looked_into() -> None:
    with pytest.raises(BadEvent) as refused:
        decode(Transaction, b'{"' + b"4111 1111 1111 1111 " * 500 + b'": 1}')

    assert len(refused.value.field) <= MAX_FIELD_CHARS
    assert not holds_card(refused.value.field)


@pytest.mark.parametrize("agent", ["Chrome/142", "split\0in two"])
def test_of_many_events_those_are_looked_at_that_may_hold_a_card(agent: str) -> None:
    """None is passed over, whatever its texts hold; digits of two fields, or of two events, are no card."""
    clean = transaction(transaction_id="t4111111111", account_id="4111111111", user_agent=agent)
    held = [transaction(device_id="4111 1111 1111 1111"), transaction(user_agent="pays by 4111-1111-1111-1111")]

    places = may_hold_cards([clean, held[0], clean, clean, held[1]])

    assert {1, 4} <= set(places)
    assert ("\0" in agent) or list(places) == [1, 4]
    assert list(may_hold_cards([transaction()] * 2)) == []
