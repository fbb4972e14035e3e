"""Secrets that are planted in every variable that may hold one are in no text that a process makes of its settings."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from api.pricing.settings import PricingSettings
from api.settings import ApiSettings, EdgeSettings
from fraud_assets.settings import BadSettings, DatabaseSettings, Settings, read_settings
from streaming.settings import WorkerSettings

KINDS: tuple[type[Settings], ...] = (
    Settings, EdgeSettings, ApiSettings, PricingSettings, WorkerSettings, DatabaseSettings,
)  # fmt: skip
NEEDLE = "pLanted5ecret"
GOOD = {
    "FRAUD_TOKEN_KEY": f"{NEEDLE}-4f1c9be07a5d83264f1c9be07a5d8326",
    "REDIS_URL": f"redis://:{NEEDLE}-redis@127.0.0.1:1/0",
    "FRAUD_ONLINE_STORE_URL": f"redis+cluster://:{NEEDLE}-store@127.0.0.1:1,127.0.0.1:2",
    "DATABASE_URL": f"postgresql://fraud:{NEEDLE}-database@127.0.0.1:1/decisions",
    "SCHEMA_REGISTRY_URL": f"http://fraud:{NEEDLE}-registry@127.0.0.1:1",
    "MLFLOW_TRACKING_URI": f"http://fraud:{NEEDLE}-mlflow@127.0.0.1:1",
    "MLFLOW_TRACKING_PASSWORD": f"{NEEDLE}-password",
    "MLFLOW_TRACKING_TOKEN": f"{NEEDLE}-token",
    "AWS_SECRET_ACCESS_KEY": f"{NEEDLE}-s3",
    "FRAUD_ALERT_URLS": f'["slack://{NEEDLE}/alert"]',
}
# One that is refused for each kind of fault: its form, its type, what production asks of it.
FAULTS = [
    {"DATABASE_URL": f"mysql://fraud:{NEEDLE}@db/decisions"},
    {"FRAUD_ALERT_URLS": f"slack://{NEEDLE}/not-json"},
    {"FRAUD_TOKEN_KEY_ID": "k1", "ENVIRONMENT": "production", "FRAUD_TOKEN_KEY": NEEDLE, "REDIS_URL": f"redis://:{NEEDLE}@r/0", "AWS_SECRET_ACCESS_KEY": NEEDLE},
    {"FRAUD_LABEL_DELAY_DAYS": f"redis://:{NEEDLE}@pasted-into-the-wrong-variable"},
]  # fmt: skip
COMMANDS = [
    ("api",), ("api.pricing",), ("streaming",), ("fraud_assets.rollout", "status"), ("fraud_assets.erasure", "--account", "a17"),
]  # fmt: skip


def plant(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_settings_show_no_secret(kind: type[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, GOOD)

    settings = kind()

    assert NEEDLE in settings.token_key.get_secret_value()
    assert [said for said in (repr(settings), str(settings), f"{settings!r:.9999}") if NEEDLE in said] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "+".join(fault))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_settings_that_are_refused_show_no_secret(
    kind: type[Settings], fault: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the line for a person nor in the error itself, which a traceback would show."""
    plant(monkeypatch, GOOD | fault)
    known = {str(field.validation_alias) for field in kind.model_fields.values()}
    if not known & set(fault):
        pytest.skip("has no such setting")

    with pytest.raises(BadSettings) as told:
        read_settings(kind)
    with pytest.raises((ValidationError, ValueError)) as raised:
        kind()

    assert NEEDLE not in str(told.value) and NEEDLE not in str(raised.value) and NEEDLE not in repr(raised.value)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_that_refuses_its_settings_shows_no_secret(command: tuple[str, ...], tmp_path: Path) -> None:
    environ = os.environ | GOOD | FAULTS[2] | {"FRAUD_VAR_DIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-m", *command], env=environ, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode != 0 and "FRAUD_TOKEN_KEY" in done.stderr, done.stderr
    assert NEEDLE not in done.stdout + done.stderr


def test_an_erasure_that_reaches_nobody_shows_no_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Drivers' errors may repeat the address they could not reach."""
    plant(monkeypatch, GOOD | {"FRAUD_VAR_DIR": str(tmp_path)})
    command = importlib.import_module("fraud_assets.erasure.__main__")

    assert command.main(["--account", "a17", "--dry-run"]) == 3
    assert command.main(["--account", "a17", "--dry-run", "--without-store"]) == 3

    told = capsys.readouterr()
    assert "online_store" in told.err and "PostgreSQL" in told.err and NEEDLE not in told.out + told.err
