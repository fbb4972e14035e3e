"""What a running scorer unpickles: machine code of its own kernels and the country table of a locked wheel, at its start."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numba.core.caching
import pytest

from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import OnlineStore
from tests.api.processes import Running, scorers
from tests.api.world import ALL, bearer, request
from tests.models.made import Trained

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fraud_assets"
WATCHING = Path(__file__).parent / "watching"
# Who may unpickle, and what: both are as trustworthy as the code itself, for whoever may write there may write code.
KERNEL_CACHE = Path(numba.core.caching.__file__)
COUNTRY_TABLE = "geoip2fast.py"


class Seen(dict[str, str]):
    """A line of the watcher's file: `what` was done, and which `file` asked for it."""

    def is_allowed(self) -> bool:
        path = Path(self["file"])
        return path == KERNEL_CACHE or path.name == COUNTRY_TABLE


def seen_in(file: Path) -> list[Seen]:
    return [Seen(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def with_epoch(redis_url: str) -> None:
    store = OnlineStore.connect(redis_url, registry())
    store.publish_epoch("e1", log="log-1", resume={}, now_ms=1)
    store.close()


@pytest.fixture(scope="module")
def watched(
    valkey_server: str, broker: str, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, Path]]:
    """A scorer as operators start it, and what was seen of it and of its child until it was ready."""
    folder = tmp_path_factory.mktemp("watched")
    with_epoch(valkey_server)
    env = {"PYTHONPATH": str(WATCHING), "UNPICKLED_FILE": str(folder / "seen")}
    with scorers(1, folder, trained, valkey_server, broker, **env) as (scorer,):
        yield scorer, folder / "seen"


@pytest.mark.e2e
def test_a_start_unpickles_only_what_is_as_trusted_as_code(watched: tuple[Running, Path]) -> None:
    """Numba's index and machine code from beside the compiled modules, and the country table in its wheel."""
    seen = seen_in(watched[1])

    assert [one for one in seen if not one.is_allowed()] == []
    opened = {Path(one["what"].removeprefix("opens ")) for one in seen if one["what"].startswith("opens ")}
    assert opened
    assert [path for path in opened if not (path.is_relative_to(PACKAGE) and "__pycache__" in path.parts)] == []
    assert len([one for one in seen if Path(one["file"]).name == COUNTRY_TABLE and one["what"] == "pickle"]) == 1


@pytest.mark.e2e
def test_a_model_is_loaded_and_a_payment_decided_without_unpickling_anything(watched: tuple[Running, Path]) -> None:
    """The watcher is on: it saw the start."""
    scorer, file = watched
    before = seen_in(file)

    with httpx.Client(base_url=scorer.url, headers=bearer(ALL), timeout=60) as client:
        statuses = [
            client.post("/predict", json=request()).status_code,
            client.post("/admin/reload").status_code,
            client.post("/predict", json={"transactions": [request(), request()]}).status_code,
        ]

    assert statuses == [200, 200, 200]
    assert before
    assert seen_in(file) == before


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.loads(pickle.dumps(1))",
        "import pickle, io; pickle.Unpickler(io.BytesIO(pickle.dumps(print))).load()",
        "import marshal; marshal.loads(marshal.dumps(1))",
        "import numpy, io; f = io.BytesIO(); numpy.save(f, numpy.array([print])); f.seek(0); numpy.load(f, allow_pickle=True)",
    ],
)
def test_the_watcher_sees_whoever_unpickles(tmp_path: Path, code: str) -> None:
    """Also what goes through a library, or past the two functions."""
    file = tmp_path / "seen"
    env = {"PYTHONPATH": str(WATCHING), "UNPICKLED_FILE": str(file)}

    subprocess.run([sys.executable, "-c", code], env=env, check=True)

    assert [one for one in seen_in(file) if not one.is_allowed()]


@pytest.mark.parametrize(
    "folder", ["api", "streaming", "fraud_assets/models", "fraud_assets/stores", "fraud_assets/engine"]
)
def test_the_linter_refuses_an_unpickler_on_the_serving_path(folder: str) -> None:
    """The rules are on for these folders, whatever else is ignored there."""
    code = "import marshal\nimport pickle\n\nprint(pickle.loads(b''), marshal.loads(b''))\n"

    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", f"{folder}/new.py", "--output-format=concise", "-"],
        input=code, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert [rule for rule in ("S301", "S302", "TID251 `pickle`", "TID251 `marshal`") if rule not in done.stdout] == []
