"""A proof about a model registry that does not answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from fraud_assets.models.artifact import CHAMPION_FILE, Champion, publish_champion
from tests.chaos.proof import Outcome, Scale
from tests.chaos.rig import Rig, payment, rig
from tests.chaos.scorer import ask_once


def gone(_: Scale) -> Outcome:
    """MLflow accepts and never answers, also at a cold start: the verified files on this machine serve, and a reload says what it did."""
    with _silent() as (uri, asked), rig(MLFLOW_TRACKING_URI=uri) as made:
        at_first = _version(made)
        publish_champion(made.model_dir, "v2")
        swapped = made.reload()
        made.scorer.kill_and_start()
        after_cold_start = _version(made)
        pointer = Champion("v9", "0" * 64)
        (made.model_dir / CHAMPION_FILE).write_bytes(msgspec.json.encode(pointer))
        answer = made.reload_answer()
        still = _version(made)
    figure = {
        "at_first": at_first, "swapped": swapped, "after_cold_start": after_cold_start, "still": still,
        "reload_says": str(answer.get("refused", "")).partition(":")[0], "asked_mlflow": len(asked),
    }  # fmt: skip
    named = "v9" in str(answer.get("refused", "")) and answer["model_version"] == "v2"
    return Outcome((at_first, swapped, after_cold_start, still) == ("v1", "v2", "v2", "v2") and named, figure)


def _version(made: Rig) -> str:
    return str(ask_once(made, payment())["model_version"])


@contextmanager
def _silent() -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that accepts and says nothing: worse than one that refuses."""
    asked: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    asked.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        for connection in asked:
            connection.close()
