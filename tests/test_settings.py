"""Settings: one frozen object, read from the environment, that refuses what cannot be."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from api.pricing.settings import PricingSettings
from api.settings import ApiSettings
from fraud_assets.settings import BadSettings, Settings, read_settings
from streaming.settings import WorkerSettings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)


def test_every_setting_is_in_the_table_of_the_docs(root: Path) -> None:
    table = (root / "docs" / "architecture.md").read_text()

    missing = [
        name
        for name, field in Settings.model_fields.items()
        if f"| `{name}` | `{field.validation_alias}` |" not in table
    ]

    assert missing == []


def test_every_state_path_follows_var_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_VAR_DIR", "elsewhere")

    settings = Settings()

    assert settings.lake_uri == "elsewhere/lake"
    assert str(settings.model_dir) == "elsewhere/models"
    assert settings.mlflow_tracking_uri == "sqlite:///elsewhere/mlflow/mlflow.db"


def test_a_path_given_by_itself_wins_over_var_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_VAR_DIR", "elsewhere")
    monkeypatch.setenv("FRAUD_LAKE_URI", "s3://bucket/lake")

    assert Settings().lake_uri == "s3://bucket/lake"


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/"])
def test_a_lake_that_is_a_whole_bucket_has_no_place_beside_it(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features would go to a bucket of the name `features`, which is somebody's."""
    monkeypatch.setenv("FRAUD_LAKE_URI", uri)

    with pytest.raises(ValidationError, match="Name a folder in it, s3://bucket/lake"):
        Settings()


def test_a_cluster_is_the_online_stores_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beside the states uses commands of several keys, which a cluster refuses."""
    monkeypatch.setenv("REDIS_URL", "redis+cluster://:hush@h:7000,i:7000")
    with pytest.raises(BadSettings, match=r"REDIS_URL: .*FRAUD_ONLINE_STORE_URL") as refused:
        read_settings(Settings)
    assert "hush" not in str(refused.value)

    monkeypatch.setenv("REDIS_URL", "redis://beside:6379/0")
    assert Settings().online_store_url == "redis://beside:6379/0"
    monkeypatch.setenv("FRAUD_ONLINE_STORE_URL", "redis+cluster://h:7000,i:7000")
    assert Settings().online_store_url == "redis+cluster://h:7000,i:7000"


@pytest.mark.parametrize("url", ["http://h", "redis+cluster://", "redis+cluster://:secret@", "h:7000"])
def test_an_online_store_that_is_no_address_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_ONLINE_STORE_URL", url)

    with pytest.raises(BadSettings, match="FRAUD_ONLINE_STORE_URL"):
        read_settings(Settings)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().token_key_id = "other"  # type: ignore[misc]  # what the test wants refused


PRODUCTION = {
    "ENVIRONMENT": "production",
    "FRAUD_LAKE_URI": "s3://fraud/lake",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "REDIS_URL": "redis://:Zq8-vT2-kL9-mX4-pW7@valkey:6379/0",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "FRAUD_TOKEN_KEY": "4f1c9be07a5d83264f1c9be07a5d8326",
    "FRAUD_TOKEN_KEY_ID": "k1",
}


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which production starts."""
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_production_starts_where_everything_is_named(production: pytest.MonkeyPatch) -> None:
    for kind in (Settings, ApiSettings, PricingSettings, WorkerSettings):
        assert kind().environment == "production"


def test_local_needs_nothing_and_says_all_that_production_misses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().environment == "local"

    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(ValidationError) as refused:
        Settings()

    for name in set(PRODUCTION) - {"ENVIRONMENT"}:
        assert f"Set {name}" in str(refused.value), name


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("FRAUD_TOKEN_KEY", "INSECURE-development-key-do-not-use-in-production", "everybody knows"),
        ("FRAUD_TOKEN_KEY", "4f1c9be07a5d8326", "shorter than 32"),
        ("FRAUD_TOKEN_KEY", "ab" * 20, "different"),
        ("FRAUD_TOKEN_KEY_ID", "dev", "public key"),
        ("FRAUD_LAKE_URI", "/data/lake", "s3://bucket/folder"),
        ("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db", "server's address"),
        ("REDIS_URL", "redis://valkey:6379/0", "shorter than 16"),
        ("REDIS_URL", "redis://:changeme@valkey:6379/0", "everybody knows"),
        ("FRAUD_ONLINE_STORE_URL", "redis+cluster://h:7000,i:7000", "shorter than 16"),
        ("DATABASE_URL", "postgresql://fraud:postgres@postgres/decisions", "everybody knows"),
        ("AWS_SECRET_ACCESS_KEY", "minioadmin", "everybody knows"),
    ],
)
def test_production_refuses_what_is_weak_and_does_not_show_it(
    production: pytest.MonkeyPatch, name: str, given: str, said: str
) -> None:
    production.setenv(name, given)

    with pytest.raises(BadSettings, match=f"{name}.*{said}") as refused:
        read_settings(WorkerSettings)

    assert given not in str(refused.value)


def test_an_address_without_a_password_is_no_weak_one(production: pytest.MonkeyPatch) -> None:
    """PostgreSQL's is in the connection service file."""
    production.setenv("DATABASE_URL", "postgresql:///?service=decisions")

    assert WorkerSettings().database_url.get_secret_value() == "postgresql:///?service=decisions"


def test_secrets_come_from_files_and_a_variable_wins(tmp_path: Path, production: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "FRAUD_TOKEN_KEY"):
        (tmp_path / name.lower()).write_text(f"{PRODUCTION[name]}\n")
        production.delenv(name)
    production.setenv("FRAUD_SECRETS_DIR", str(tmp_path))

    assert Settings().redis_url == PRODUCTION["REDIS_URL"]
    assert Settings().token_key.get_secret_value() == PRODUCTION["FRAUD_TOKEN_KEY"]

    production.setenv("REDIS_URL", "redis://:another-password-42@valkey:6379/0")
    assert Settings().redis_url == "redis://:another-password-42@valkey:6379/0"


def test_a_secret_in_a_file_is_held_to_the_same(tmp_path: Path, production: pytest.MonkeyPatch) -> None:
    production.delenv("FRAUD_TOKEN_KEY")
    (tmp_path / "fraud_token_key").write_text("short")
    production.setenv("FRAUD_SECRETS_DIR", str(tmp_path))

    with pytest.raises(BadSettings, match="FRAUD_TOKEN_KEY: it is shorter"):
        read_settings(Settings)


def test_a_folder_of_secrets_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_SECRETS_DIR", "/nowhere")

    with pytest.raises(BadSettings, match="FRAUD_SECRETS_DIR is no folder"):
        read_settings(Settings)


def test_a_command_line_is_told_each_wrong_variable_and_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_LABEL_DELAY_DAYS", "hush")
    monkeypatch.setenv("ENVIRONMENT", "staging")

    with pytest.raises(
        BadSettings, match=r"ENVIRONMENT: .*'local' or 'production'.*; FRAUD_LABEL_DELAY_DAYS: "
    ) as refused:
        read_settings(Settings)

    assert "hush" not in str(refused.value)


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(ValidationError, match="'local' or 'production'"):
        Settings(environment="staging")


def test_no_secret_is_in_the_repr() -> None:
    settings = Settings(token_key="hush", redis_url="redis://:hush@localhost:6379/0")

    assert "hush" not in repr(settings)


@pytest.mark.parametrize("kind", [ApiSettings, PricingSettings, WorkerSettings, Settings])
def test_a_fault_shows_nothing_of_what_was_given(kind: type[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault between fields would show all of them, and a traceback is a line of a log."""
    monkeypatch.setenv("FRAUD_TOKEN_KEY", "hush-key")
    monkeypatch.setenv("REDIS_URL", "redis://:hush-redis@localhost:6379/0")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush-mlflow")
    monkeypatch.setenv("FRAUD_JWT_ALGORITHM", "RS256")  # and no key of it
    monkeypatch.setenv("FRAUD_LABEL_DELAY_DAYS", "hush-days")

    with pytest.raises(ValidationError) as refused:
        kind()

    assert "hush" not in str(refused.value) + repr(refused.value)


def test_half_of_the_jwt_settings_shows_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a fault between fields, found when each of them is right."""
    monkeypatch.setenv("FRAUD_TOKEN_KEY", "hush-key")
    monkeypatch.setenv("FRAUD_JWT_ALGORITHM", "RS256")

    with pytest.raises(ValidationError, match="belong together") as refused:
        ApiSettings()

    assert "hush" not in str(refused.value) + repr(refused.value)


@pytest.mark.parametrize("given", ["[1.0, 0.9]", "[0.9, 1.1]", "[-0.5, 1.0]", "[1.0, 1.0]"])
def test_multipliers_rise_and_hold_the_base_price(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_PRICE_MULTIPLIERS", given)

    with pytest.raises(ValidationError, match="give rising numbers"):
        PricingSettings()


def test_every_field_says_what_it_is_for(root: Path) -> None:
    source = (root / "fraud_assets" / "settings.py").read_text()

    for name in Settings.model_fields:
        after = source.split(f"    {name}: ", 1)[1]
        assert '\n    """' in after.split("\n\n", 1)[0], f"{name} has no docstring"
