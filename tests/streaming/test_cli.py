"""`python -m streaming`: what cannot be done is refused in one line that names the way out, and a log has one form."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

NOBODY = "127.0.0.1:1"


def run(tmp_path: Path, *words: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return ended(tmp_path, "-m", "streaming", *words, env=env)


def ended(tmp_path: Path, *python: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """With no server to be found."""
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": NOBODY, "REDIS_URL": f"redis://{NOBODY}/0", "FRAUD_VAR_DIR": str(tmp_path)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FRAUD_")}
    return subprocess.run(
        [sys.executable, *python],
        env={**kept, **nowhere, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["notifier"], {}, "FRAUD_NOTIFICATIONS_FILE"),
        (["notifier"], {"FRAUD_NOTIFICATIONS_FILE": "/nowhere/notify.toml"}, "FRAUD_NOTIFICATIONS_FILE"),
        (["init-epoch"], {}, "REDIS_URL"),
        (["rebuild-online"], {}, "REDIS_URL"),
        ([], {"FRAUD_LAKE_FLUSH_S": "soon"}, "FRAUD_LAKE_FLUSH_S"),
        (["router"], {"FRAUD_LAKE_FLUSH_S": "soon"}, "FRAUD_LAKE_FLUSH_S"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    tmp_path: Path, words: list[str], env: dict[str, str], said: str
) -> None:
    """It names the setting that is wrong or missing; a traceback would name our files."""
    done = run(tmp_path, *words, env=env)

    assert (done.returncode, done.stdout) == (1, "")
    *libraries, line = done.stderr.splitlines()
    assert line.startswith("refused: ") and said in line
    assert [other for other in libraries if not other.startswith("{")] == []


def test_a_file_of_rules_that_cannot_be_followed_is_refused_without_its_urls(tmp_path: Path) -> None:
    file = tmp_path / "notify.toml"
    file.write_text('[[notify]]\nname = "ops"\nurls = ["nonsense://hush@place/"]\n')

    done = run(tmp_path, "notifier", env={"FRAUD_NOTIFICATIONS_FILE": str(file)})

    assert done.returncode == 1
    assert "refused: BadRules: url 0 of ops" in done.stderr and "hush" not in done.stderr


@pytest.mark.parametrize("command", ["router", "init-epoch", "notifier"])
def test_force_is_refused_where_there_is_nothing_to_force(tmp_path: Path, command: str) -> None:
    """Ignored, it would look as if it had done something."""
    done = run(tmp_path, command, "--force")

    assert (done.returncode, "--force is for rebuild-online alone" in done.stderr) == (2, True)


def lines(text: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in text.splitlines()]


def test_a_process_that_ends_by_an_error_says_so_in_json_and_shows_no_variables(tmp_path: Path) -> None:
    """Every line is JSON. The variables around an error may hold the records of that moment."""
    done = run(tmp_path, "router")

    said = lines(done.stderr)
    (failed,) = [line for line in said if line["event"] == "process_failed"]
    assert (done.returncode, failed["error"]) == (1, "KafkaException")
    frames = [frame for one in failed["exception"] for frame in one["frames"]]
    assert "main" in {frame["name"] for frame in frames}
    assert not [frame for frame in frames if frame.get("locals")]


LIBRARY = f"""
import sys, time
from confluent_kafka.admin import AdminClient
from streaming import logs
logs.configure()
errors = []
admin = AdminClient({{"bootstrap.servers": "{NOBODY}", "logger": logs.LIBRDKAFKA, "error_cb": errors.append}})
until = time.monotonic() + 60
while not errors and time.monotonic() < until:
    admin.poll(0.1)  # librdkafka says nothing to who does not ask
"""


def test_what_librdkafka_says_is_json_too(tmp_path: Path) -> None:
    done = ended(tmp_path, "-c", LIBRARY)

    assert done.returncode == 0
    assert [line for line in lines(done.stderr) if "rdkafka" in line["event"] and line["level"] == "error"]


SUPERVISED = """
import sys
from streaming import __main__, logs
from streaming.settings import WorkerSettings
logs.configure()
sys.exit(__main__._play_supervised("notifier", WorkerSettings()))
"""


def test_a_supervised_process_that_is_refused_says_so_in_json(tmp_path: Path) -> None:
    """Nobody but the log reads what it says."""
    done = ended(tmp_path, "-c", SUPERVISED)

    assert done.returncode == 1
    assert [line["event"] for line in lines(done.stderr) if line["level"] == "error"] == ["refused"]


STOPS = """
import atexit, sys
from streaming import __main__, router
router.run = lambda settings: print("drained", end="")
atexit.register(print, "taken apart")
sys.argv[1:] = ["router"]
sys.exit(__main__.main())
"""


def test_a_process_that_has_drained_ends_at_once(tmp_path: Path) -> None:
    """Nothing that it said is lost, and nothing is taken apart, which a busy machine would not do in time."""
    done = ended(tmp_path, "-c", STOPS)

    assert (done.returncode, done.stdout) == (0, "drained"), done.stderr
