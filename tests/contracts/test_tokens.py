"""Tokens: equal things get equal tokens, nothing personal leaks, bad input says what to fix."""

import ipaddress
import re
from hashlib import blake2b
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts.events import Country, Token
from fraud_assets.contracts.tokens import TokenKey, country_of, tokenise, warm_up
from fraud_assets.settings import Settings

KEY = TokenKey("k1", b"0123456789abcdef")
OTHER_KEY = TokenKey("k2", b"fedcba9876543210")


@pytest.fixture(scope="module", autouse=True)
def _country_data_is_loaded() -> None:
    """Loading takes longer than Hypothesis allows one example."""
    warm_up()


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        ("card", ["4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", " 4111111111111111 "]),
        ("email", ["ann@example.org", " Ann@Example.ORG\n"]),
        ("email", ["re\u0301ne@example.org", "r\u00e9ne@example.org"]),
        ("ip", ["192.0.2.7", " 192.0.2.7", "::ffff:192.0.2.7"]),
        ("ip", ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1"]),
    ],
)
def test_spellings_of_one_thing_share_a_token(kind: Literal["card", "email", "ip"], spellings: list[str]) -> None:
    """Separators, case, composition and zero-padding do not make another card, e-mail or IP."""
    assert len({tokenise(kind, spelling, KEY) for spelling in spellings}) == 1


def test_token_is_the_key_id_and_32_hex_digits_and_fits_the_contract() -> None:
    """The documented shape `<key id>:<hex>` is accepted by the events' Token type."""
    token = tokenise("ip", "192.0.2.7", KEY)

    assert re.fullmatch(r"k1:[0-9a-f]{32}", token)
    assert msgspec.convert(token, Token) == token


def test_token_is_stable_across_releases() -> None:
    """A changed construction would make every known card a new card: this value may not move."""
    assert tokenise("card", "4111111111111111", KEY) == "k1:62ffac070caea6ddd6fef6c25e2d4f0e"


def test_another_key_gives_unrelated_tokens() -> None:
    """After a rotation the hex part differs too, not only the id before it."""
    first, second = (tokenise("card", "4111111111111111", key) for key in (KEY, OTHER_KEY))

    assert first.split(":")[1] != second.split(":")[1]


@given(st.from_regex(r"[1-9][0-9]{11,18}", fullmatch=True))
def test_card_number_never_appears_in_its_token(number: str) -> None:
    """No run of the number survives into the token, whatever its length."""
    assert number not in tokenise("card", number, KEY)


@pytest.mark.parametrize(
    ("kind", "value", "named"),
    [
        ("card", "", "card"),
        ("card", "4111", "card"),
        ("card", "4111x111 1111 1111", "card"),
        ("card", "\u0664" * 16, "card"),
        ("email", "ann", "email"),
        ("email", "ann@", "email"),
        ("email", "a@b@example.org", "email"),
        ("email", "ann smith@example.org", "email"),
        ("email", "a" * 250 + "@example.org", "email"),
        ("ip", "192.0.2", "ip"),
        ("ip", "192.0.2.7:443", "ip"),
        ("ip", "192.0.2.0/24", "ip"),
        ("ip", "fe80::1%eth0", "ip"),
    ],
)
def test_bad_input_names_the_field_and_never_repeats_the_value(
    kind: Literal["card", "email", "ip"], value: str, named: str
) -> None:
    """The error goes to logs and clients, so it may not carry what it refuses."""
    with pytest.raises(ValueError, match=rf"^{named}: ") as error:
        tokenise(kind, value, KEY)

    assert not value or value not in str(error.value)


def test_unknown_kind_lists_the_known_ones() -> None:
    """A programming error is told apart from bad input."""
    with pytest.raises(ValueError, match="card, email, ip"):
        tokenise("phone", "123", KEY)  # type: ignore[arg-type]  # what the test wants refused


def test_key_is_made_from_the_settings_and_hidden_in_its_repr() -> None:
    """The two settings become a key; printing it shows the id alone."""
    settings = Settings()

    key = TokenKey.of_settings(settings)

    assert tokenise("ip", "192.0.2.7", key).startswith(f"{settings.token_key_id}:")
    assert settings.token_key.get_secret_value() not in repr(key)


@pytest.mark.parametrize(
    ("key_id", "secret"),
    [
        ("k1", "short"),
        ("k1", "x" * 65),
        ("k 1", "0123456789abcdef"),
        ("", "0123456789abcdef"),
        ("k:1", "0123456789abcdef"),
    ],
)
def test_weak_or_unnamed_key_is_refused(key_id: str, secret: str) -> None:
    """A key that could be searched, or whose tokens could not be told apart, never makes one."""
    with pytest.raises(ValueError, match=r"^token key: "):
        TokenKey.of(key_id, secret)


@pytest.mark.parametrize(
    ("ip", "country"),
    [
        ("8.8.8.8", "US"),
        ("2001:4860:4860::8888", "US"),
        ("::ffff:8.8.8.8", "US"),
        ("193.0.6.139", "NL"),
        ("10.0.0.1", "ZZ"),
        ("127.0.0.1", "ZZ"),
        ("fd00::1", "ZZ"),
        ("203.0.113.9", "ZZ"),
    ],
)
def test_country_of_known_and_unknown_addresses(ip: str, country: str) -> None:
    """Public addresses have a country; private, loopback and documentation ones are ZZ."""
    assert country_of(ip) == country


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str))
def test_country_always_satisfies_the_contract(ip: str) -> None:
    """Whatever the data file says, the answer is a legal `Country`."""
    assert msgspec.convert(country_of(ip), Country)


def test_country_of_something_else_is_bad_input() -> None:
    """No neutral value for a failure: the caller learns that it is no address."""
    with pytest.raises(ValueError, match=r"^ip: "):
        country_of("localhost")


@given(st.lists(st.sampled_from([*"0129", ".", "25", "255", "256", "٣", " ", "\n", "x"]), max_size=14).map("".join))
def test_addresses_are_what_the_standard_library_takes_for_one(text: str) -> None:
    """Most are told by their form alone: no number above 255, no leading zero, no other digits than ASCII's."""
    try:
        wanted = str(ipaddress.ip_address(text.strip()))
    except ValueError:
        with pytest.raises(ValueError, match=r"^ip: "):
            tokenise("ip", text, KEY)
        return

    assert tokenise("ip", text, KEY) == tokenise("ip", wanted, KEY)


@given(st.ip_addresses(v=4))
def test_an_address_has_the_token_of_its_plain_spelling(address: ipaddress.IPv4Address) -> None:
    """The keyed hash of its canonical text, whichever way it was written."""
    digest = blake2b(str(address).encode(), digest_size=16, key=KEY.secret, person=b"ip").hexdigest()

    assert tokenise("ip", f" {address}", KEY) == tokenise("ip", f"::ffff:{address}", KEY) == f"k1:{digest}"


@pytest.mark.parametrize("space", [" ", "\t", "\x1c", "\x85", "\u00a0", "\u2003", "\u3000"])
def test_space_of_any_kind_is_no_part_of_an_email(space: str) -> None:
    """Around one it is dropped."""
    assert tokenise("email", f"{space}ann@example.org{space}", KEY) == tokenise("email", "ann@example.org", KEY)
    with pytest.raises(ValueError, match=r"^email: "):
        tokenise("email", f"ann{space}smith@example.org", KEY)
