"""What differs between two workers that run the same code; the rest is in fraud_assets/settings.py."""

from pathlib import Path

from pydantic import Field

from fraud_assets.settings import DatabaseSettings

HOUR_MS = 3_600_000


class WorkerSettings(DatabaseSettings):
    """Settings of one worker process. Raises ValidationError, naming the variable."""

    worker_id: str = Field("worker-0", pattern="^[A-Za-z0-9._-]{1,64}$", validation_alias="FRAUD_WORKER_ID")
    """Static group membership: a worker that restarts within the session keeps its partitions. One per worker."""

    worker_metrics_port: int = Field(0, ge=0, le=65_000, validation_alias="FRAUD_WORKER_METRICS_PORT")
    """First of six consecutive ports (router, folder, labels, explainer, database, notifier) with /metrics; 0 for none. Better below those that the
    system gives to outgoing connections (32768 and up on Linux): a process whose port is taken works without, and waits for it."""

    worker_metrics_host: str = Field("127.0.0.1", min_length=1, validation_alias="FRAUD_WORKER_METRICS_HOST")
    """Where those ports listen. In a container 0.0.0.0: they tell counts and no payment, ask for no key, and are for Prometheus alone."""

    lake_flush_s: float = Field(5.0, gt=0, validation_alias="FRAUD_LAKE_FLUSH_S")
    """Seconds between batches of the lake, and so between commits of the raw topics. Shorter means more small files."""

    fold_flush_s: float = Field(0.1, gt=0, validation_alias="FRAUD_FOLD_FLUSH_S")
    """Seconds that an entity record waits at most for its micro-batch."""

    label_flush_s: float = Field(0.5, gt=0, validation_alias="FRAUD_LABEL_FLUSH_S")
    """Seconds between micro-batches of the label stage."""

    explain_flush_s: float = Field(1.0, gt=0, validation_alias="FRAUD_EXPLAIN_FLUSH_S")
    """Seconds that a decision waits at most for its batch in the explainer: a batch costs a tenth of its rows alone."""

    database_flush_s: float = Field(1.0, gt=0, validation_alias="FRAUD_DATABASE_FLUSH_S")
    """Seconds between batches of rows, and so between commits of the database's consumer group."""

    model_patience_s: float = Field(60.0, ge=0, validation_alias="FRAUD_MODEL_PATIENCE_S")
    """Seconds that decisions of a model which is not in the model folder wait for it before they are dead letters."""

    notifications_file: Path | None = Field(None, validation_alias="FRAUD_NOTIFICATIONS_FILE")
    """Who is told of which decisions (TOML, a secret: URLs carry passwords); unset: nobody, and no notifier runs."""

    notify_attempts: int = Field(5, ge=1, le=20, validation_alias="FRAUD_NOTIFY_ATTEMPTS")
    """How often a target is asked to take a notice before it becomes a dead letter."""

    notify_first_pause_s: float = Field(0.5, gt=0, le=10, validation_alias="FRAUD_NOTIFY_FIRST_PAUSE_S")
    """Between the first two attempts; doubled each time, to 10 s."""

    notify_flush_s: float = Field(1.0, gt=0, validation_alias="FRAUD_NOTIFY_FLUSH_S")
    """Seconds that a decision waits at most for its batch of notices."""

    notify_max_age_hours: int = Field(24, ge=1, validation_alias="FRAUD_NOTIFY_MAX_AGE_HOURS")
    """Nobody is told of older decisions: a notifier that is switched on begins with all that the topic holds."""

    replication_factor: int = Field(1, ge=1, validation_alias="FRAUD_REPLICATION_FACTOR")
    """Of topics the worker has to create; 3 in production."""

    def metrics_address(self, place: int) -> tuple[str, int]:
        """Host and port of a process' /metrics, by its place in the row of ports; port 0 for none."""
        return self.worker_metrics_host, self.worker_metrics_port and self.worker_metrics_port + place
