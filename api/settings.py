"""Settings of the services at the edge: the platform's, those they share, and the scorer's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from fraud_assets.settings import Settings

JwtAlgorithm = Literal["RS256", "ES256", "EdDSA", "HS256"]


@dataclass(frozen=True)
class JwtSettings:
    """All that makes a token acceptable."""

    algorithm: JwtAlgorithm
    key_file: Path
    audience: str
    issuer: str


class EdgeSettings(Settings):
    """What every service of ours at the edge needs: who may call, how much, and how long Redis may take."""

    api_keys_file: Path = Field(
        default_factory=lambda data: data["var_dir"] / "api" / "keys.json", validation_alias="FRAUD_API_KEYS_FILE"
    )
    """Who may call: `python -m api keys` writes it, and it is read again when it changes."""

    jwt_algorithm: JwtAlgorithm | None = Field(None, validation_alias="FRAUD_JWT_ALGORITHM")
    """The one algorithm of signed tokens; with the three below, all or none. Unset: API keys only."""

    jwt_key_file: Path | None = Field(None, validation_alias="FRAUD_JWT_KEY_FILE")
    """The issuer's public key as PEM; for HS256 the shared secret."""

    jwt_audience: str | None = Field(None, min_length=1, validation_alias="FRAUD_JWT_AUDIENCE")
    """Whom tokens must be for: us."""

    jwt_issuer: str | None = Field(None, min_length=1, validation_alias="FRAUD_JWT_ISSUER")
    """Who must have signed them."""

    api_rate_per_s: int = Field(1_000, ge=1, validation_alias="FRAUD_API_RATE_PER_S")
    """Transactions, labels or events to price a second that a key may send, over ten seconds, unless its line in the keys file says otherwise."""

    max_in_flight: int = Field(16, ge=1, validation_alias="FRAUD_MAX_IN_FLIGHT")
    """Requests that a process works on at once; a further one gets 503. Each takes several turns of the event loop,
    and under load a turn is as long as all who are refused in it: 16 answer within 50 ms, 64 took a second."""

    store_timeout_ms: float = Field(20.0, gt=0, le=1_000, validation_alias="FRAUD_STORE_TIMEOUT_MS")
    """How long a decision waits for its history; a read takes 0.2 ms, and without one it decides on the payment alone."""

    shared_timeout_ms: float = Field(15.0, gt=0, le=1_000, validation_alias="FRAUD_SHARED_TIMEOUT_MS")
    """How long a payment waits where processes keep count together: for the claim of its Idempotency-Key, and when its key's rate is renewed.
    Past it the payment, and all others until Redis is back, go on without."""

    @property
    def jwt(self) -> JwtSettings | None:
        if not (self.jwt_algorithm and self.jwt_key_file and self.jwt_audience and self.jwt_issuer):
            return None
        return JwtSettings(self.jwt_algorithm, self.jwt_key_file, self.jwt_audience, self.jwt_issuer)

    @model_validator(mode="after")
    def _jwt_is_whole_or_absent(self) -> "EdgeSettings":
        given = (self.jwt_algorithm, self.jwt_key_file, self.jwt_audience, self.jwt_issuer)
        if any(given) and not all(given):
            raise ValueError("FRAUD_JWT_ALGORITHM, _KEY_FILE, _AUDIENCE and _ISSUER belong together. Set all or none.")
        return self


class ApiSettings(EdgeSettings):
    """One frozen object per scorer process, read once in `python -m api`."""

    decision_journal_dir: Path = Field(
        default_factory=lambda data: data["var_dir"] / "api" / "decisions",
        validation_alias="FRAUD_DECISION_JOURNAL_DIR",
    )
    """Decisions that the broker does not have yet, and the newest link of their chain: a disk that outlives the process."""

    decision_journal_mb: int = Field(1_024, ge=16, validation_alias="FRAUD_DECISION_JOURNAL_MB")
    """How much of them a process keeps while the broker is gone: some 200,000 decisions. Past it they are lost, and counted."""

    registry_watch_s: float = Field(5.0, ge=0, validation_alias="FRAUD_REGISTRY_WATCH_S")
    """How often a scorer asks an MLflow server which version has the alias `champion`; 0: never, nor where MLFLOW_TRACKING_URI is
    no server's address."""

    registry_user: str | None = Field(None, validation_alias="MLFLOW_TRACKING_USERNAME")
    """Where MLflow asks who it is, as its own clients say it: a user and a password, or a token."""

    registry_password: SecretStr | None = Field(None, validation_alias="MLFLOW_TRACKING_PASSWORD")
    """See above."""

    registry_token: SecretStr | None = Field(None, validation_alias="MLFLOW_TRACKING_TOKEN")
    """See above."""

    idempotency_ttl_s: int = Field(86_400, ge=60, le=30 * 86_400, validation_alias="FRAUD_IDEMPOTENCY_TTL_S")
    """How long an answer is remembered under its Idempotency-Key: some 500 bytes of Redis each."""
