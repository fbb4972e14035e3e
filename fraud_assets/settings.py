"""What differs between two machines that run the same code.

One frozen object per process, read once at its entry point: `settings = Settings()`. Nothing else
reads the environment, and nothing reads it at import time.
"""

import math
import os
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

# Public, so worthless: tokens made with it can be reversed by anybody who reads this file.
DEVELOPMENT_TOKEN_KEY = "INSECURE-development-key-do-not-use-in-production"

SECRETS_DIR = "FRAUD_SECRETS_DIR"
"""Names a folder with one file for each secret, called as its variable is, in any case. A variable wins over its file."""

# What images, tutorials and this repository's own tests begin with. Longer ones are refused by their length or their letters.
KNOWN_SECRETS = frozenset({
    "admin", "changeme", "default", "fraud", "local-secret", "minioadmin", "mlflow", "password", "postgres", "redis", "secret",
    "correct-horse-battery-staple", "your-secret-here", "replace-me-in-production",
})  # fmt: skip
MIN_PASSWORD_LENGTH, MIN_KEY_LENGTH = 16, 32
MIN_DIFFERENT_LETTERS = 8


class BadSettings(ValueError):
    """The environment says what cannot be; the message names each variable and hides its value."""


def weakness(secret: str, min_length: int = MIN_PASSWORD_LENGTH) -> str:
    """What makes it one that others know or can guess, "" for none. It says nothing of how it was drawn."""
    if secret == DEVELOPMENT_TOKEN_KEY or secret.lower() in KNOWN_SECRETS:
        return "a default that everybody knows"
    if len(secret) < min_length:
        return f"shorter than {min_length} characters"
    return (
        f"of fewer than {MIN_DIFFERENT_LETTERS} different characters"
        if len(set(secret)) < MIN_DIFFERENT_LETTERS
        else ""
    )


class Environment(StrEnum):
    LOCAL = "local"
    PRODUCTION = "production"


def _inside_var(name: str) -> Any:
    """A default that follows `var_dir`, so that one variable moves all state of a run."""
    return lambda data: f"{data['var_dir']}/{name}"


class Settings(BaseSettings):
    """Paths, addresses and keys of this process.

    Raises ValidationError, naming the variable, for a value that cannot be; in production also for what is only fit for a laptop.
    """

    # An error that showed what was given would show keys and passwords: a fault between fields shows them all.
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", validate_default=True, validate_by_name=True, hide_input_in_errors=True
    )

    environment: Environment = Field(Environment.LOCAL, validation_alias="ENVIRONMENT")
    """`local` has a default for everything, below one folder. `production` has none for where things are: lake (S3 or GCS), broker, online
    store and MLflow must be named, and secrets that are missing, known or short are refused at the start."""

    var_dir: Path = Field(Path("var"), validation_alias="FRAUD_VAR_DIR")
    """The one folder that holds all state of a local run; deleting it forgets everything."""

    data_dir: Path = Field(Path("../shared/data"), validation_alias="FRAUD_DATA_DIR")
    """External data sets that the simulator's worlds are compared with: `handbook/` and `sparkov/`."""

    lake_uri: str = Field(default_factory=_inside_var("lake"), validation_alias="FRAUD_LAKE_URI")
    """Root of the lake: a folder, `gs://bucket/prefix`, or `s3://bucket/prefix` of any S3-compatible store, which the S3 client's own variables
    (AWS_ENDPOINT_URL, AWS_REGION, AWS_SHARED_CREDENTIALS_FILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) lead to."""

    s3_secret_key: SecretStr = Field(SecretStr(""), validation_alias="AWS_SECRET_ACCESS_KEY")
    """The S3 clients read it themselves; here it is only looked at, for production refuses a known one."""

    model_dir: Path = Field(default_factory=_inside_var("models"), validation_alias="FRAUD_MODEL_DIR")
    """Where verified model artifacts are kept for the scorer, one folder per version."""

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", validation_alias="KAFKA_BOOTSTRAP_SERVERS")
    """Comma-separated host:port of the brokers; `make demo` starts its own where this is unset."""

    schema_registry_url: str | None = Field(None, min_length=1, validation_alias="SCHEMA_REGISTRY_URL", repr=False)
    """A Confluent-compatible schema registry, whose word on contracts binds too; unset: the recorded files alone."""

    redis_url: str = Field("redis://127.0.0.1:6379/0", validation_alias="REDIS_URL", repr=False)
    """One Redis: the online store where it has no address of its own, and what is beside it: marks and firsts of the dedupe stage, label cases,
    claims of idempotency keys, rates, prices. Kept out of the repr because a URL may carry a password."""

    online_store_url: str = Field(
        default_factory=lambda data: data["redis_url"], validation_alias="FRAUD_ONLINE_STORE_URL", repr=False
    )
    """The online store, if it is not REDIS_URL's: another server, or a Redis Cluster as `redis+cluster://host:port,host:port`, of which some nodes are
    named and the others learnt (`rediss+cluster://` with TLS)."""

    mlflow_tracking_uri: str = Field(
        default_factory=lambda data: f"sqlite:///{data['var_dir']}/mlflow/mlflow.db",
        validation_alias="MLFLOW_TRACKING_URI",
        repr=False,
    )
    """MLflow's tracking server, or its SQLite file; kept out of the repr because a URL may carry a password."""

    dedupe_horizon_hours: int = Field(24, ge=1, validation_alias="FRAUD_DEDUPE_HORIZON_HOURS")
    """Within it of arrival time, the same identity is a duplicate. About 130 bytes of Redis an event."""

    token_key: SecretStr = Field(SecretStr(DEVELOPMENT_TOKEN_KEY), validation_alias="FRAUD_TOKEN_KEY")
    """Key of the HMAC that turns card numbers, e-mails and IP addresses into tokens."""

    token_key_id: str = Field("dev", pattern="^[A-Za-z0-9_-]{1,16}$", validation_alias="FRAUD_TOKEN_KEY_ID")
    """Names the key inside each token, so that keys can be rotated and old tokens still told apart."""

    cards_in_ids: Literal["refuse", "count", "off"] = Field("refuse", validation_alias="FRAUD_CARDS_IN_IDS")
    """What becomes of an event with an id that looks like a card number: it is refused; or it passes, and is counted; or nobody looks. For
    ids that are numbers and begin as cards do, such as telephone numbers: one in ten of them looks like one. Free text loses
    card numbers all the same."""

    training_window_days: float = Field(90, gt=0, validation_alias="FRAUD_TRAINING_WINDOW_DAYS")
    """Days of history in a training set; a part of one where things go fast, as in a demo."""

    label_delay_days: float = Field(7, ge=0, validation_alias="FRAUD_LABEL_DELAY_DAYS")
    """Days after which a transaction that nobody called fraud counts as legitimate; a demo takes a minute, 0.0007."""

    training_as_of: Literal["midnight", "log_end"] = Field("midnight", validation_alias="FRAUD_TRAINING_AS_OF")
    """What a training as of today knows: what was known when the day began, or all that the log holds. `log_end` is for who cannot wait
    for midnight; a log that has grown then gives another set, and the former one is only kept."""

    graph_lookback_days: int = Field(
        default_factory=lambda data: math.ceil(data.get("training_window_days", 90) + data.get("label_delay_days", 7)),
        ge=1,
        validation_alias="FRAUD_GRAPH_LOOKBACK_DAYS",
    )
    """Days of payments in the identity graph; by default as far back as a training set reaches."""

    graph_device_cap: int = Field(10, ge=1, validation_alias="FRAUD_GRAPH_DEVICE_CAP")
    """Accounts that may share a device for one's fraud to say something of the others. A point of sale has more."""

    graph_card_cap: int = Field(5, ge=1, validation_alias="FRAUD_GRAPH_CARD_CAP")
    """The same for a card. A company's, or a placeholder number, has more."""

    graph_ip_cap: int = Field(20, ge=1, validation_alias="FRAUD_GRAPH_IP_CAP")
    """The same for an address. A carrier's or a campus's has thousands."""

    warm_up_days: int = Field(7, ge=0, validation_alias="FRAUD_WARM_UP_DAYS")
    """First days of the log that train nothing: nobody has a past there, and every device is a new one."""

    propagation_weights: bool = Field(False, validation_alias="FRAUD_PROPAGATION_WEIGHTS")
    """Whether a payment that hangs together with confirmed frauds counts less as legitimate in training (docs/model.md says what that
    was measured to bring). Needs `label_confidence` of the same day."""

    alert_urls: tuple[SecretStr, ...] = Field((), validation_alias="FRAUD_ALERT_URLS")
    """JSON list of Apprise URLs (Slack, PagerDuty, e-mail, webhook, ...) that are told of failed checks and runs and of halts. Secrets. None:
    alerts are in the log and on the sensors' pages."""

    alerts_per_hour: int = Field(20, ge=1, validation_alias="FRAUD_ALERTS_PER_HOUR")
    """Alerts sent within an hour; what is more is held back and told as one."""

    alert_repeat_hours: float = Field(24.0, ge=0, validation_alias="FRAUD_ALERT_REPEAT_HOURS")
    """Hours after which an alert on the same thing is told again."""

    dagster_url: str = Field("", validation_alias="FRAUD_DAGSTER_URL")
    """Where people reach Dagster, for links in alerts; empty: they name the page without its host."""

    traces_endpoint: str | None = Field(None, min_length=1, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT", repr=False)
    """An OpenTelemetry collector, `http://host:4318`, that scorer and worker tell their spans; unset: none are made. The library reads what else
    of OTEL_EXPORTER_OTLP_… it needs by itself."""

    traces_share: float = Field(1.0, ge=0, le=1, validation_alias="OTEL_TRACES_SAMPLER_ARG")
    """Share of the traces that begin with us which are told of; those of a caller are told of if its `traceparent` says so."""

    exchange_rates: dict[str, float] = Field(default_factory=dict, validation_alias="FRAUD_EXCHANGE_RATES")
    """JSON, minor units of a currency per euro cent, for those that training/money.py lacks or has wrong."""

    chargeback_fee_minor: int = Field(1_500, ge=0, validation_alias="FRAUD_CHARGEBACK_FEE_MINOR")
    """Euro cents that a missed fraud costs beside its amount. The four costs choose the thresholds of the next model."""

    false_decline_minor: int = Field(2_500, ge=0, validation_alias="FRAUD_FALSE_DECLINE_MINOR")
    """Euro cents that refusing a good customer costs: support, goodwill, part of the margin."""

    review_minor: int = Field(300, ge=0, validation_alias="FRAUD_REVIEW_MINOR")
    """Euro cents that an analyst's look at one payment costs."""

    reviews_per_day: float = Field(100.0, ge=0, validation_alias="FRAUD_REVIEWS_PER_DAY")
    """Payments that the analysts can look at on a day; 0 sends none for review."""

    feature_engine: Literal["local", "spark"] = Field("local", validation_alias="FRAUD_FEATURE_ENGINE")
    """What computes the feature views' partitions: this process, or a Spark cluster with the same kernels."""

    spark_master: str = Field("local[*]", min_length=1, validation_alias="FRAUD_SPARK_MASTER")
    """The cluster, as Spark names it: `local[2]`, `local-cluster[2,1,1024]`, `spark://host:7077`."""

    training_split: Literal["temporal", "stratified"] = Field("temporal", validation_alias="FRAUD_TRAINING_SPLIT")
    """How candidates are compared: on the newest quarter of the window, or on a random one with as many frauds, which flatters."""

    tuning_trials: int = Field(6, ge=0, le=1000, validation_alias="FRAUD_TUNING_TRIALS")
    """Candidates compared by a training, the declared default being the first; 0 searches nothing."""

    tuning_timeout_s: float = Field(300.0, gt=0, validation_alias="FRAUD_TUNING_TIMEOUT_S")
    """Seconds after which no further candidate is begun."""

    max_calibration_gap: float = Field(0.25, ge=0, validation_alias="FRAUD_MAX_CALIBRATION_GAP")
    """How far a model's mean score may lie from the share of fraud, as a part of that share, beside what chance allows."""

    max_recall_loss: float = Field(0.1, ge=0, le=1, validation_alias="FRAUD_MAX_RECALL_LOSS")
    """How much less of the fraud a champion may find on matured labels than its training measured, beside what chance allows."""

    row_budget_us: float = Field(15.0, gt=0, validation_alias="FRAUD_ROW_BUDGET_US")
    """Microseconds that a model may take for one row, by the code that serves it."""

    retrain_cooldown_days: int = Field(7, ge=0, validation_alias="FRAUD_RETRAIN_COOLDOWN_DAYS")
    """Days for which a training that knew of a drifted day is the answer to its drift, and `retrain_on_drift` asks for no other. Labels of
    the days that drifted mature meanwhile (FRAUD_LABEL_DELAY_DAYS): a training before that learns little of them."""

    retrain_wait_minutes: float = Field(0.0, ge=0, validation_alias="FRAUD_RETRAIN_WAIT_MINUTES")
    """Minutes from the first report of a drift to the training that it asks for, in which labels of what drifted come in. Where a
    training knows all until now (FRAUD_TRAINING_AS_OF) and labels take minutes, one that is asked for at once learns nothing of it."""

    drift_window_minutes: float = Field(1440.0, gt=0, validation_alias="FRAUD_DRIFT_WINDOW_MINUTES")
    """Of the day that goes on, the newest minutes that `drift_report` looks at. Days that are over are looked at whole."""

    live_drift_cron: str = Field("*/15 * * * *", min_length=9, validation_alias="FRAUD_LIVE_DRIFT_CRON")
    """When the schedule `live_drift`, once it is switched on, makes the drift report of the day that goes on."""

    sensor_interval_s: int = Field(30, ge=1, validation_alias="FRAUD_SENSOR_INTERVAL_S")
    """Seconds between two looks of `rollout_guard`, and half of those between two of `retrain_on_drift`."""

    history_start: date = Field(date(2025, 1, 1), validation_alias="FRAUD_HISTORY_START")
    """First day that has partitions in Dagster; older rows of the lake are history that features still read."""

    chain_reread_nights: int = Field(90, ge=1, validation_alias="FRAUD_CHAIN_REREAD_NIGHTS")
    """Runs of `decision_chain_report` within which each day of decisions is read again, though its files look as they were."""

    holdouts_kept: int = Field(10, ge=0, validation_alias="FRAUD_HOLDOUTS_KEPT")
    """Versions trained last whose holdouts are kept, besides those of the newest, the champion, the challenger and the champion before. The
    gates of a version whose holdout is gone fail: whoever trains many days at once, and promotes afterwards, keeps as many."""

    rollout: Literal["direct", "shadow"] = Field("direct", validation_alias="FRAUD_ROLLOUT")
    """What `champion_model` does with a model that passed the gates: `direct` makes it champion at once, `shadow` lets it score beside
    the champion first. `direct` by default, for a rollout only ends where decisions are logged and `rollout_guard` is switched on: who has
    neither, such as a demo or a first history, would wait for a champion for ever."""

    rollout_shadow_hours: float = Field(168.0, ge=0, validation_alias="FRAUD_ROLLOUT_SHADOW_HOURS")
    """Hours for which a challenger at least scores everything and decides nothing; a demo takes 0.05."""

    rollout_canary_hours: float = Field(72.0, ge=0, validation_alias="FRAUD_ROLLOUT_CANARY_HOURS")
    """Hours for which it then at least decides for a share of accounts."""

    rollout_watch_hours: float = Field(72.0, ge=0, validation_alias="FRAUD_ROLLOUT_WATCH_HOURS")
    """Hours for which a new champion is watched, and reverted if it does badly."""

    rollout_canary_share: float = Field(0.05, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_CANARY_SHARE")
    """The canary's share of accounts."""

    rollout_alpha: float = Field(0.01, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_ALPHA")
    """Chance that a phase of a sound challenger is ever halted, however often anybody looks; split among the guard's tests."""

    rollout_min_payments: int = Field(1000, ge=1, validation_alias="FRAUD_ROLLOUT_MIN_PAYMENTS")
    """Payments that both models have answered before a phase may end well."""

    rollout_denial_tolerance: float = Field(0.01, ge=0, lt=1, validation_alias="FRAUD_ROLLOUT_DENIAL_TOLERANCE")
    """Share of payments by which the challenger may deny more than the champion, or fewer."""

    rollout_max_fpr: float = Field(0.02, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_MAX_FPR")
    """Share of payments with a matured label that says legitimate which it may deny."""

    rollout_max_deny_rate: float = Field(0.05, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_MAX_DENY_RATE")
    """Share of all payments that it may deny: what stands for the false positive rate until labels mature."""

    rollout_max_missed_share: float = Field(0.02, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_MAX_MISSED_SHARE")
    """Share of the money it lets through that may turn out to be fraud."""

    rollout_value_cap_minor: int = Field(50_000, ge=1, validation_alias="FRAUD_ROLLOUT_VALUE_CAP_MINOR")
    """Minor units from which on one payment's money counts no more, so that no single one decides a rollout."""

    rollout_drift_tolerance: float = Field(0.5, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_DRIFT_TOLERANCE")
    """How far a share of high scores may be from that of the challenger's validation scores, as a part of that share."""

    rollout_latency_budget_ms: float = Field(10.0, gt=0, validation_alias="FRAUD_ROLLOUT_LATENCY_BUDGET_MS")
    """Milliseconds that the challenger's own scoring may take, of up to as many payments as a scorer decides in one go (32)."""

    rollout_max_slow_share: float = Field(0.05, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_MAX_SLOW_SHARE")
    """Share of payments for which it may take longer while the champion does not."""

    rollout_max_error_share: float = Field(0.01, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_MAX_ERROR_SHARE")
    """Share of payments for which it may be asked and give no score."""

    rollout_max_absent_share: float = Field(0.25, gt=0, lt=1, validation_alias="FRAUD_ROLLOUT_MAX_ABSENT_SHARE")
    """Share of payments that scorers may decide without asking it: while they restart, or load it."""

    @property
    def label_delay_whole_days(self) -> int:
        """For what is by day: the days by whose end the delay is over."""
        return math.ceil(self.label_delay_days)

    @property
    def label_delay_ms(self) -> int:
        return round(self.label_delay_days * 86_400_000)

    @property
    def dedupe_horizon_ms(self) -> int:
        return self.dedupe_horizon_hours * 3_600_000

    @field_validator("lake_uri")
    @classmethod
    def _lake_has_siblings(cls, uri: str) -> str:
        bucket, _, prefix = uri.partition("?")[0].partition("://")[2].partition("/")
        if "://" in uri and bucket and not prefix.strip("/"):
            msg = f"{uri} is a whole bucket. Name a folder in it, {uri.rstrip('/')}/lake: features and training sets lie beside."
            raise ValueError(msg)
        return uri

    @field_validator("redis_url")
    @classmethod
    def _is_one_server(cls, url: str) -> str:
        if "+cluster://" in url:
            raise ValueError(
                "is one server's. Name the cluster in FRAUD_ONLINE_STORE_URL, and here a server for what is beside it"
            )
        return url

    @field_validator("online_store_url")
    @classmethod
    def _is_server_or_cluster(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        if scheme not in ("redis", "rediss", "redis+cluster", "rediss+cluster") or not rest.rpartition("@")[2].strip(
            "/, "
        ):
            raise ValueError("must be redis://host:port/0 or redis+cluster://host:port,host:port (rediss for TLS)")
        return url

    @model_validator(mode="after")
    def _production_is_no_laptop(self) -> "Settings":
        if self.environment is Environment.PRODUCTION and (faults := [*self._unnamed(), *self._guessable()]):
            raise ValueError(f"ENVIRONMENT=production refuses to start. {' '.join(faults)}")
        return self

    def _unnamed(self) -> Iterator[str]:
        """Places that are a laptop's, or nobody's word."""
        if not self.lake_uri.startswith(("s3://", "gs://")):
            yield "Set FRAUD_LAKE_URI to s3://bucket/folder or gs://bucket/folder."
        if not self.mlflow_tracking_uri.startswith(("http://", "https://")):
            yield "Set MLFLOW_TRACKING_URI to a server's address."
        for name, variable in (("kafka_bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS"), ("redis_url", "REDIS_URL")):
            if name not in self.model_fields_set:
                yield f"Set {variable}: its default is a server of this machine."

    def _guessable(self) -> Iterator[str]:
        if fault := weakness(self.token_key.get_secret_value(), MIN_KEY_LENGTH):
            yield f"Set FRAUD_TOKEN_KEY: it is {fault}."
        if self.token_key_id == "dev":
            yield "Set FRAUD_TOKEN_KEY_ID: its default names the public key."
        if "redis_url" in self.model_fields_set and (fault := weakness(_password(self.redis_url))):
            yield f"Give REDIS_URL a password: its own is {fault}."
        if "online_store_url" in self.model_fields_set and (fault := weakness(_password(self.online_store_url))):
            yield f"Give FRAUD_ONLINE_STORE_URL a password: its own is {fault}."
        yield from self._guessable_others()

    def _guessable_others(self) -> Iterator[str]:
        """Secrets that may be absent, of this process's settings: whole ones, and passwords in addresses."""
        for name, field in type(self).model_fields.items():
            given = getattr(self, name)
            if name == "token_key" or not isinstance(given, SecretStr) or not given.get_secret_value():
                continue
            is_address = "://" in given.get_secret_value()
            secret = _password(given.get_secret_value()) if is_address else given.get_secret_value()
            if (secret or not is_address) and (fault := weakness(secret)):
                yield f"Set {field.validation_alias}: its secret is {fault}."

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then the files of FRAUD_SECRETS_DIR."""
        folder = os.environ.get(SECRETS_DIR)
        if folder and not Path(folder).is_dir():
            raise SettingsError(f"{SECRETS_DIR} is no folder")
        files = SecretsSettingsSource(settings_cls, folder) if folder else file_secret_settings
        return init_settings, env_settings, dotenv_settings, files


class DatabaseSettings(Settings):
    """Of a process that reaches the decisions in PostgreSQL. Raises ValidationError, naming the variable."""

    database_url: SecretStr = Field(SecretStr(""), validation_alias="DATABASE_URL")
    """PostgreSQL that decisions and explanations also go to, `postgresql://user:password@host/name`; empty for none."""

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql:// and name no driver")
        return url


def _password(address: str) -> str:
    return unquote(urlsplit(address).password or "")


Kind = TypeVar("Kind", bound=Settings)


def read_settings(kind: type[Kind]) -> Kind:
    """The settings, or those of one process, for a command line: raises BadSettings, whose message is for a person."""
    try:
        return kind()
    except SettingsError as error:
        raise BadSettings(f"BadSettings: {error}.") from None
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
            for fault in error.errors()
            if fault["type"] != "default_factory_not_called"  # of a field that follows one at fault
        )
        raise BadSettings(f"BadSettings: {'; '.join(faults)}.") from None
