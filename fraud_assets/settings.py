"""What differs between two machines that run the same code.

One frozen object per process, read once at its entry point: `settings = Settings()`. Nothing else
reads the environment, and nothing reads it at import time.
"""

import math
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

# Public, so worthless: tokens made with it can be reversed by anybody who reads this file.
DEVELOPMENT_TOKEN_KEY = "INSECURE-development-key-do-not-use-in-production"


class BadSettings(ValueError):
    """The environment says what cannot be; the message names each variable and hides its value."""


class Environment(StrEnum):
    LOCAL = "local"
    PRODUCTION = "production"


def _inside_var(name: str) -> Any:
    """A default that follows `var_dir`, so that one variable moves all state of a run."""
    return lambda data: f"{data['var_dir']}/{name}"


class Settings(BaseSettings):
    """Paths, addresses and keys of this process.

    Raises ValidationError, naming the variable, for a value that cannot be; also for the
    development key in production.
    """

    # An error that showed what was given would show keys and passwords: a fault between fields shows them all.
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", validate_default=True, validate_by_name=True, hide_input_in_errors=True
    )

    environment: Environment = Field(Environment.LOCAL, validation_alias="ENVIRONMENT")
    """`production` refuses what is only fit for a laptop, such as the development token key."""

    var_dir: Path = Field(Path("var"), validation_alias="FRAUD_VAR_DIR")
    """The one folder that holds all state of a local run; deleting it forgets everything."""

    data_dir: Path = Field(Path("../shared/data"), validation_alias="FRAUD_DATA_DIR")
    """External data sets that the simulator's worlds are compared with: `handbook/` and `sparkov/`."""

    lake_uri: str = Field(default_factory=_inside_var("lake"), validation_alias="FRAUD_LAKE_URI")
    """Root of the lake: a folder, or `s3://bucket/prefix` of any S3-compatible store, which the S3 client's own variables
    (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION) lead to."""

    model_dir: Path = Field(default_factory=_inside_var("models"), validation_alias="FRAUD_MODEL_DIR")
    """Where verified model artifacts are kept for the scorer, one folder per version."""

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", validation_alias="KAFKA_BOOTSTRAP_SERVERS")
    """Comma-separated host:port of the brokers; `make demo` starts its own where this is unset."""

    schema_registry_url: str | None = Field(None, min_length=1, validation_alias="SCHEMA_REGISTRY_URL", repr=False)
    """A Confluent-compatible schema registry, whose word on contracts binds too; unset: the recorded files alone."""

    redis_url: str = Field("redis://127.0.0.1:6379/0", validation_alias="REDIS_URL", repr=False)
    """The online store; kept out of the repr because a URL may carry a password."""

    mlflow_tracking_uri: str = Field(
        default_factory=lambda data: f"sqlite:///{data['var_dir']}/mlflow/mlflow.db",
        validation_alias="MLFLOW_TRACKING_URI",
    )
    """MLflow's tracking server, or its SQLite file."""

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

    @model_validator(mode="after")
    def _production_has_its_own_key(self) -> "Settings":
        if self.environment is Environment.PRODUCTION and self.token_key.get_secret_value() == DEVELOPMENT_TOKEN_KEY:
            msg = "ENVIRONMENT=production with the development token key. Set FRAUD_TOKEN_KEY and FRAUD_TOKEN_KEY_ID."
            raise ValueError(msg)
        return self


Kind = TypeVar("Kind", bound=Settings)


def read_settings(kind: type[Kind]) -> Kind:
    """The settings, or those of one process, for a command line: raises BadSettings, whose message is for a person."""
    try:
        return kind()
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
            for fault in error.errors()
            if fault["type"] != "default_factory_not_called"  # of a field that follows one at fault
        )
        raise BadSettings(f"BadSettings: {'; '.join(faults)}.") from None
