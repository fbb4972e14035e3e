"""`python -m api` as an operator meets it: what is wrong is one line, and all it says is JSON."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from api import __main__ as command
from api.keys import write_keys
from tests.api.processes import Running
from tests.api.world import ALL, MADE, until


def ended(*words: str, **env: str) -> tuple[int, str]:
    """Exit code and all that was said, of a process that ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "api", *words],
        env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("words", [(), ("keys", "list"), ("audit", "verify")], ids=" ".join)
def test_a_setting_that_cannot_be_is_one_line_without_its_value(words: tuple[str, ...]) -> None:
    code, said = ended(*words, FRAUD_LABEL_DELAY_DAYS="hush")

    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("BadSettings: FRAUD_LABEL_DELAY_DAYS: ") and "hush" not in said


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a server is there that would say it in a traceback."""
    keys = tmp_path / "keys.json"
    keys.write_text("{")
    monkeypatch.setattr("sys.argv", ["api"])
    monkeypatch.setenv("FRAUD_API_KEYS_FILE", str(keys))
    with pytest.raises(SystemExit, match=r"^BadKeys: .*keys\.json"):
        command.main()

    jwt = {"ALGORITHM": "RS256", "KEY_FILE": str(tmp_path / "none.pem"), "AUDIENCE": "us", "ISSUER": "them"}
    code, said = ended(FRAUD_API_KEYS_FILE=str(tmp_path / "new.json"), **{f"FRAUD_JWT_{k}": v for k, v in jwt.items()})
    assert (code, said) == (1, f"BadJwtKey: {tmp_path / 'none.pem'}: No such file or directory.\n")


@pytest.mark.e2e
def test_every_line_of_a_scorer_is_json_also_of_what_is_no_request(tmp_path: Path, free_port: int) -> None:
    """No model, no store, no broker, and a caller that speaks no HTTP: uvicorn and librdkafka have words for it, and say them in ours."""
    write_keys(tmp_path / "keys.json", [MADE[ALL].key])
    env = {
        **os.environ,
        "FRAUD_MODEL_DIR": str(tmp_path / "models"),
        "FRAUD_API_KEYS_FILE": str(tmp_path / "keys.json"),
        "FRAUD_DECISION_JOURNAL_DIR": str(tmp_path / "decisions"),
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    scorer = Running(free_port, tmp_path / "log", env)
    try:
        until(lambda: is_open(free_port), within_s=120)
        with socket.create_connection(("127.0.0.1", free_port)) as wire:
            wire.sendall(b"4111111111111111 no request\r\n\r\n")
            assert wire.recv(100).startswith(b"HTTP/1.1 400")
    finally:
        scorer.process.terminate()
        scorer.process.wait(60)

    raw = scorer.log.read_bytes()
    lines = [msgspec.json.decode(line) for line in raw.splitlines()]
    assert [line["said"] for line in lines if line.get("logger") == "uvicorn.error"] == [
        "Invalid HTTP request received."
    ]
    assert {"scorer_started"} <= {line["event"] for line in lines}
    assert b"4111111111111111" not in raw


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_what_nobody_caught_is_a_line_too() -> None:
    """Of the process, of a thread of it, and of a library."""
    program = (
        "import logging, threading, warnings; from api import logs; logs.configure()\n"
        "def fail(): raise ValueError('told')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "try: fail()\n"
        "except ValueError: logging.getLogger('lib').exception('went wrong')\n"
        "logging.getLogger('asyncio').error('Task exception was never retrieved\\nfuture: <4111111111111111>')\n"
        "warnings.warn('old')\n"
        "fail()\n"
    )
    done = subprocess.run([sys.executable, "-W", "default", "-c", program], capture_output=True, check=False)

    lines = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["uncaught", "library", "library", "library", "uncaught"]
    assert [line["level"] for line in lines] == ["critical", "error", "error", "warning", "critical"]
    assert lines[1]["error"] == "ValueError" and lines[1]["at"][-1].endswith(" fail") and "told" not in str(lines[1])
    assert lines[-1]["detail"] == "told"
    assert (done.returncode, done.stderr) == (1, b"") and b"4111" not in done.stdout
