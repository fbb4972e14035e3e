"""Personal data becomes keyed tokens here, at the edge, and nowhere else.

A token is `<key id>:<hex>`: the same card, e-mail or IP address under the same key is the same
token, so features can count cards per IP without anyone storing either. Without the secret a token
cannot be tested against a list of all card numbers, which a plain hash would allow. The key id says
which key made it, so that keys can be rotated and old tokens still be told apart.

The country of an IP address is derived before the address is tokenised. Its data comes inside the
`geoip2fast` wheel (code MIT, data derived from MaxMind's GeoLite2; this product includes GeoLite2
data created by MaxMind, https://www.maxmind.com).
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from fraud_assets.contracts.cards import holds_card
from fraud_assets.contracts.events import Event

if TYPE_CHECKING:
    from geoip2fast import GeoIP2Fast

    from fraud_assets.settings import Settings

UNKNOWN_COUNTRY = "ZZ"  # ISO 3166 reserves ZZ for "unknown"; it satisfies the contract's pattern
DIGEST_BYTES = 16  # 2**64 tokens before a collision is likely, and half the state of a full digest
MIN_SECRET_BYTES = 16  # shorter can be searched
MAX_SECRET_BYTES = 64  # what keyed BLAKE2b takes
MAX_EMAIL_CHARS = 254  # RFC 5321's path limit
_COUNTRY_DATA = "geoip2fast-ipv6.dat.gz"  # the IPv4-only file would call every IPv6 address unknown
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,16}")
_COUNTRY = re.compile(r"[A-Z]{2}")
# No card number has a colon, no e-mail address is without '@', and no IP address has just one colon.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,16}:[0-9a-f]{1,64}")
_KIND_OF_FIELD: dict[str, Literal["card", "email", "ip"]] = {
    "card_token": "card",
    "email_token": "email",
    "ip_token": "ip",
}


E = TypeVar("E", bound=Event)


class BadTokenKey(ValueError):
    """A key that could be searched, or whose tokens could not be told apart."""


class BadTokenField(ValueError):
    """A token field that holds neither a token nor what one is made of. Its message names the fix, not the value."""

    def __init__(self, field: str, fix: str) -> None:
        self.field, self.fix = field, fix
        super().__init__(f"{field}: {fix}")


class TokenKey(msgspec.Struct, frozen=True):
    """A named secret. Its repr hides the secret, so a logged settings object leaks nothing."""

    key_id: str
    secret: bytes

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.key_id):
            raise BadTokenKey("token key: the id must be 1 to 16 letters, digits, '_' or '-'")
        if not MIN_SECRET_BYTES <= len(self.secret) <= MAX_SECRET_BYTES:
            raise BadTokenKey(
                f"token key: the secret must have {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, "
                f"not {len(self.secret)}; make one with `openssl rand -hex 32`"
            )

    def __repr__(self) -> str:
        return f"TokenKey(key_id={self.key_id!r}, secret=<hidden>)"

    @classmethod
    def of(cls, key_id: str, secret: str) -> "TokenKey":
        return cls(key_id, secret.encode())

    @classmethod
    def of_settings(cls, settings: "Settings") -> "TokenKey":
        """The key of this process. Raises BadTokenKey."""
        return cls.of(settings.token_key_id, settings.token_key.get_secret_value())


def tokenise(kind: Literal["card", "email", "ip"], value: str, key: TokenKey) -> str:
    """The keyed token of a card number, e-mail or IP address, `<key id>:<32 hex digits>`.

    Spellings of the same thing give the same token; different kinds never share one.
    Raises ValueError naming the field and the fix. The message never repeats the value.
    """
    if kind not in _NORMALISERS:
        raise ValueError(f"tokenise: unknown kind {kind!r}; known kinds: {', '.join(_NORMALISERS)}")
    digest = _begun(kind, key.secret).copy()  # half the price of keying another
    digest.update(_NORMALISERS[kind](value).encode())
    return f"{key.key_id}:{digest.hexdigest()}"


def subject_token(account_id: str, key: TokenKey) -> str:
    """Of an account, for the receipt of its erasure: who has the key can ask about an id that he knows, and read none."""
    digest = _begun("account", key.secret).copy()
    digest.update(account_id.encode())
    return f"{key.key_id}:{digest.hexdigest()}"


@lru_cache(maxsize=16)
def _begun(kind: str, secret: bytes) -> "blake2b":
    """A keyed hash of nothing yet. Few secrets are in use at a time: the one of now, and one to be rotated out."""
    return blake2b(digest_size=DIGEST_BYTES, key=secret, person=kind.encode())


def tokenised(event: E, key: TokenKey) -> E:
    """The event, with tokens in its token fields where a source sent the card number, e-mail or IP address itself.

    Raises BadTokenField for a value that is neither.
    """
    found = {}
    for name in _token_fields(type(event)):
        value = getattr(event, name)
        if value is None or (_TOKEN.fullmatch(value) and not holds_card(value)):
            continue
        try:
            found[name] = tokenise(_KIND_OF_FIELD[name], value, key)
        except ValueError as error:
            raise BadTokenField(name, f"{error}; or send its token, <key id>:<hex>") from None
    return msgspec.structs.replace(event, **found) if found else event


@cache
def _token_fields(contract: type[Event]) -> tuple[str, ...]:
    return tuple(name for name in contract.__struct_fields__ if name in _KIND_OF_FIELD)


def country_of(ip: str) -> str:
    """ISO 3166-1 alpha-2 country of an IP address; "ZZ" for private and unallocated ones.

    Raises ValueError if `ip` is not an address.
    """
    code: str = _country_data().lookup(_canonical_ip(ip)).country_code
    return code if _COUNTRY.fullmatch(code) else UNKNOWN_COUNTRY


def warm_up() -> None:
    """Load the country data (a quarter of a second, 47 MiB) before the first request waits for it."""
    _country_data()


def _canonical_card(value: str) -> str:
    """Digits only. No Luhn check: a mistyped number is a signal of card testing, not bad input."""
    digits = value.replace(" ", "").replace("-", "")
    if not (digits.isascii() and digits.isdigit() and 12 <= len(digits) <= 19):
        raise ValueError("card: send 12 to 19 digits, optionally grouped by spaces or '-'")
    return digits


def _canonical_email(value: str) -> str:
    """Trimmed, composed (NFC) and lower-cased."""
    email = unicodedata.normalize("NFC", value).strip().lower()
    local, at, domain = email.rpartition("@")
    has_space = len(email.split()) > 1
    if not (local and at and domain) or has_space or "@" in local or len(email) > MAX_EMAIL_CHARS:
        raise ValueError(f"email: send one address as name@domain, at most {MAX_EMAIL_CHARS} characters")
    return email


def _canonical_ip(value: str) -> str:
    """Shortest spelling; an IPv4 address carried inside IPv6 is that IPv4 address."""
    value = value.strip()
    if _IPV4.fullmatch(value):  # has one spelling; `ipaddress` takes ten times as long to say so
        return value
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("ip: send one IPv4 or IPv6 address without port or prefix length") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("ip: drop the zone after '%'; it only means something on the sending machine")
        return str(address.ipv4_mapped or address)
    return str(address)


_NORMALISERS: dict[str, Callable[[str], str]] = {
    "card": _canonical_card,
    "email": _canonical_email,
    "ip": _canonical_ip,
}


@cache
def _country_data() -> "GeoIP2Fast":
    # Imported on first use: batch and training processes never look up an address.
    from geoip2fast import GeoIP2Fast

    return GeoIP2Fast(geoip2fast_data_file=_COUNTRY_DATA)
