"""API keys: `<id>.<secret>` with 256 bits of chance, of which the platform keeps the SHA-256 alone.

The file is JSON and may be edited by hand. A client may have several live keys: hand out the new one,
wait until the old one is no longer used, end it.
"""

import hashlib
import hmac
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from api.access import Scope

SECRET_BYTES = 32
MIN_SECRET_LENGTH = 43  # of those bytes in base64
CLIENT = r"^[A-Za-z0-9_-]{1,64}$"  # it is logged, so it can be no e-mail address

Moment = Annotated[datetime, Meta(tz=True)]


class BadKeys(ValueError):
    """A keys file that is none; the message names the file and the fault, never a digest."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """sha256: of the secret, in hex. not_after: from then on it is worth nothing; None: until it is ended.

    rate_per_s: transactions or labels a second, over ten seconds; None: the platform's FRAUD_API_RATE_PER_S.
    """

    id: Annotated[str, Meta(pattern="^[a-z0-9-]{1,64}$")]
    client: Annotated[str, Meta(pattern=CLIENT)]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_at: Moment
    not_after: Moment | None = None
    rate_per_s: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None

    def is_live(self, now: datetime) -> bool:
        return self.not_after is None or now < self.not_after


class KeysFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[ApiKey] = []


class MadeKey(NamedTuple):
    """A new key; `credential` is what its owner sends, and is kept nowhere else."""

    key: ApiKey
    credential: str


def make_key(
    client: str,
    scopes: list[Scope],
    now: datetime,
    not_after: datetime | None = None,
    rate_per_s: int | None = None,
) -> MadeKey:
    """Raises BadKeys for a client's name that could not be logged."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    fields = {
        "id": f"k{secrets.token_hex(6)}",
        "client": client,
        "scopes": scopes,
        "sha256": digest_of(secret).hex(),
        "created_at": now,
        "not_after": not_after,
        "rate_per_s": rate_per_s,
    }
    try:
        key = msgspec.convert(fields, ApiKey)
    except msgspec.ValidationError as error:
        raise BadKeys(f"BadKeys: {error}. A client's name has 1 to 64 letters, digits, '_' or '-'.") from None
    return MadeKey(key, f"{key.id}.{secret}")


def digest_of(secret: str) -> bytes:
    """One round is enough: nobody guesses 256 bits, however fast they can try."""
    return hashlib.sha256(secret.encode()).digest()


def read_keys(path: Path) -> list[ApiKey]:
    """The file's keys; none if there is no file. Raises BadKeys."""
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=KeysFile).keys
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadKeys(f"BadKeys: {path}: {error}") from None
    if len({key.id for key in keys}) != len(keys):
        raise BadKeys(f"BadKeys: {path}: two keys have the same id. Remove one of them.")
    return keys


def write_keys(path: Path, keys: list[ApiKey]) -> None:
    """The whole file at once, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, msgspec.json.format(msgspec.json.encode(KeysFile(keys)), indent=2) + b"\n")


def write_private(path: Path, raw: bytes) -> None:
    """Replaced at once; never readable by others, not even while it is written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(raw)
    partial.replace(path)


def adopt_key(path: Path, client: str, scope: Scope, credential: str, now: datetime) -> ApiKey:
    """A key made elsewhere, which is in the file afterwards, once, until it is ended. Raises BadKeys."""
    key_id, _, secret = credential.partition(".")
    keys = read_keys(path)
    held = next((key for key in keys if key.id == key_id), None)
    if len(secret) < MIN_SECRET_LENGTH or (
        held is not None and not hmac.compare_digest(bytes.fromhex(held.sha256), digest_of(secret))
    ):
        raise BadKeys(
            f"BadKeys: the key of {client} is no new one. Make it as `python -m api keys new` does: an id, a dot, 43 characters."
        )
    if held is not None:
        return held
    fields = {"id": key_id, "client": client, "scopes": [scope], "sha256": digest_of(secret).hex(), "created_at": now}
    try:
        adopted = msgspec.convert(fields, ApiKey)
    except msgspec.ValidationError as error:
        raise BadKeys(f"BadKeys: the key of {client}: {error}") from None
    write_keys(path, [*keys, adopted])
    return adopted


def end_key(path: Path, key_id: str, now: datetime) -> ApiKey:
    """The key is worth nothing from now on; its line stays, to say whose it was. Raises BadKeys."""
    keys = read_keys(path)
    found = next((key for key in keys if key.id == key_id), None)
    if found is None:
        raise BadKeys(f"BadKeys: {path} has no key {key_id!r}. `python -m api keys list` names them.")
    ended = found if not found.is_live(now) else msgspec.structs.replace(found, not_after=now)
    write_keys(path, [ended if key is found else key for key in keys])
    return ended


def now_utc() -> datetime:
    return datetime.now(UTC)
