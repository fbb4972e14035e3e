"""Callers by a signed token (RFC 7519) of somebody else's identity provider. PyJWT checks it; we fix what it may be."""

import re

import jwt

from api.access import Caller, Scope
from api.keys import CLIENT
from api.settings import JwtSettings
from fraud_assets.contracts.cards import holds_card

LEEWAY_S = 5  # two machines' clocks
MIN_SECRET_BYTES = 32  # of HS256: shorter can be searched
REQUIRED = ["exp", "iss", "aud", "sub"]

_CLIENT = re.compile(CLIENT)


class BadJwtKey(ValueError):
    """A key file that does not hold a key of the algorithm."""


class JwtBearer:
    """One algorithm, one key, one audience, one issuer; an end is required. The header's wishes count for nothing."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        try:
            raw = settings.key_file.read_bytes()
        except OSError as error:
            raise BadJwtKey(f"BadJwtKey: {settings.key_file}: {error.strerror}.") from error
        algorithm = jwt.get_algorithm_by_name(settings.algorithm)
        if settings.algorithm.startswith("HS"):
            raw = raw.strip()
            if len(raw) < MIN_SECRET_BYTES:
                raise BadJwtKey(f"BadJwtKey: {settings.key_file} holds fewer than {MIN_SECRET_BYTES} bytes.")
        try:
            self._key = algorithm.prepare_key(raw)
        except (ValueError, TypeError, jwt.InvalidKeyError) as error:
            raise BadJwtKey(
                f"BadJwtKey: {settings.key_file} holds no key of {settings.algorithm}; give it as PEM."
            ) from error

    def caller(self, credential: str) -> Caller | None:
        """`sub` is the client, `scope` a list of words with spaces between them (RFC 8693)."""
        if credential.count(".") != 2:
            return None
        try:
            claims = jwt.decode(
                credential,
                self._key,
                algorithms=[self._settings.algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_S,
                options={"require": REQUIRED},
            )
        except jwt.PyJWTError:
            return None
        client, words = claims["sub"], claims.get("scope", "")
        if not _CLIENT.match(client) or holds_card(client) or not isinstance(words, str):
            return None
        return Caller(client, "jwt", frozenset(scope for scope in Scope if scope.value in words.split()))
