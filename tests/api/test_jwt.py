"""Signed tokens: one algorithm, key, audience and issuer; everything else is refused, whatever its header says."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from api.access import Scope
from api.jwt_bearer import BadJwtKey, JwtBearer
from api.settings import ApiSettings, JwtSettings
from tests.api.world import Producer, runtime, served

AUDIENCE, ISSUER = "fraud-scorer", "https://issuer.example"
OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
THEIRS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = OURS.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    fields = {"sub": "shop", "aud": AUDIENCE, "iss": ISSUER, "iat": now, "exp": now + 300, "scope": "score other"}
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def signed(key: Any = OURS, algorithm: str = "RS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm)


def by_hand(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(body).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def confused() -> str:
    """HS256 with the public key as its secret, which everybody has."""
    import hashlib
    import hmac

    unsigned = by_hand({"alg": "HS256", "typ": "JWT"}, claims()).rpartition(".")[0]
    mac = hmac.digest(PUBLIC_PEM, unsigned.encode(), hashlib.sha256)
    return f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.fixture(scope="module")
def bearer_of_tokens(tmp_path_factory: pytest.TempPathFactory) -> JwtBearer:
    path = tmp_path_factory.mktemp("jwt") / "public.pem"
    path.write_bytes(PUBLIC_PEM)
    return JwtBearer(JwtSettings("RS256", path, AUDIENCE, ISSUER))


def test_a_good_token_is_its_subject_with_the_scopes_we_know(bearer_of_tokens: JwtBearer) -> None:
    caller = bearer_of_tokens.caller(signed())

    assert caller is not None
    assert (caller.client, caller.key_id, caller.scopes) == ("shop", "jwt", frozenset([Scope.SCORE]))


NOW = int(time.time())
ATTACKS = {
    "alg none": by_hand({"alg": "none", "typ": "JWT"}, claims()),
    "alg None": by_hand({"alg": "NoNe"}, claims()),
    "no alg": by_hand({"typ": "JWT"}, claims()),
    "public key as secret": confused(),
    "another secret": signed("s" * 40, "HS256"),
    "another key": signed(THEIRS),
    "another algorithm of ours": signed(OURS, "RS512"),
    "PSS of ours": signed(OURS, "PS256"),
    "elliptic": signed(ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "own key in the header": jwt.encode(
        claims(), THEIRS, "RS256", headers={"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(THEIRS.public_key()))}
    ),
    "own key's address in the header": jwt.encode(
        claims(), THEIRS, "RS256", headers={"jku": "https://theirs.example/keys"}
    ),
    "a key's name that is a file": jwt.encode(claims(), "\0" * 32, "HS256", headers={"kid": "../../../../dev/zero"}),
    "own certificate in the header": jwt.encode(claims(), THEIRS, "RS256", headers={"x5c": ["MIIB"]}),
    "unsigned": signed().rpartition(".")[0] + ".",
    "other claims under our signature": ".".join(
        (signed().split(".")[0], by_hand({}, claims(scope="admin")).split(".")[1], signed().split(".")[2])
    ),
    "critical extension": jwt.encode(claims(), OURS, "RS256", headers={"crit": ["b64"], "b64": False}),
    "expired": signed(exp=NOW - 60),
    "no end": signed(exp=...),
    "end that is none": by_hand({"alg": "RS256"}, claims(exp="never")),
    "not yet valid": signed(nbf=NOW + 3_600),
    "issued in the future": signed(iat=NOW + 3_600),
    "another audience": signed(aud="somebody-else"),
    "no audience": signed(aud=...),
    "another issuer": signed(iss="https://elsewhere.example"),
    "no issuer": signed(iss=...),
    "no subject": signed(sub=...),
    "an e-mail as subject": signed(sub="somebody@example.com"),
    "a card number as subject": signed(sub="4111111111111111"),
    "scopes as a list": signed(scope=["score"]),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_is_refused(bearer_of_tokens: JwtBearer, attack: str) -> None:
    assert bearer_of_tokens.caller(ATTACKS[attack]) is None


@given(st.text(alphabet="abc.-_=é\0{}", max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_no_text_makes_it_fail(bearer_of_tokens: JwtBearer, text: str) -> None:
    assert bearer_of_tokens.caller(text) is None
    head, body, signature = signed().split(".")
    assert bearer_of_tokens.caller(f"{head}.{text}.{signature}") is None
    assert bearer_of_tokens.caller(f"{text}.{body}.{signature}") is None


def test_a_short_secret_and_a_file_without_a_key_stop_the_start(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"hush")

    for algorithm in ("HS256", "RS256", "ES256", "EdDSA"):
        with pytest.raises(BadJwtKey):
            JwtBearer(JwtSettings(algorithm, path, AUDIENCE, ISSUER))


def test_half_of_the_settings_is_refused() -> None:
    with pytest.raises(ValueError, match="Set all or none"):
        ApiSettings(jwt_algorithm="RS256", jwt_audience=AUDIENCE)


@pytest.fixture(scope="module")
def accepting(valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient[Litestar]]:
    """A scorer without a model that takes tokens."""
    folder = tmp_path_factory.mktemp("accepting")
    (folder / "public.pem").write_bytes(PUBLIC_PEM)
    tokens = {
        "jwt_algorithm": "RS256",
        "jwt_key_file": folder / "public.pem",
        "jwt_audience": AUDIENCE,
        "jwt_issuer": ISSUER,
    }
    with served(runtime(folder / "models", valkey_server, Producer(), **tokens)) as client:
        yield client


def test_over_http_a_token_opens_what_its_scopes_say_and_keys_go_on(accepting: TestClient[Litestar]) -> None:
    admin = {"Authorization": f"Bearer {signed(scope='admin')}"}
    score = {"Authorization": f"Bearer {signed()}"}

    assert accepting.get("/metrics", headers=admin).status_code == 200
    assert accepting.get("/metrics", headers=score).status_code == 403
    assert accepting.get("/metrics").status_code == 200
    statuses = {
        accepting.get("/metrics", headers={"Authorization": f"Bearer {bad}"}).status_code for bad in ATTACKS.values()
    }
    assert statuses == {401}
