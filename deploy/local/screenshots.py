"""Pictures for the docs, taken in a real browser: of a finished demo, or of a running stack.

python -m deploy.local.screenshots --demo var/demo
python -m deploy.local.screenshots --dagster http://127.0.0.1:3000 --report var/demo/report.html --out docs/images

Chromium is driven through its own debugging protocol. Needs `chromium` on PATH (apt-get install chromium).
"""

import argparse
import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.stack import running
from deploy.local.tether import tethered
from fraud_assets.stores.lake import Lake

_START_WITHIN_S = 60.0
# Those whose assets a picture has room for.
OPEN_GROUPS = ("training", "monitoring")
LINEAGE_SIZE = (3600, 2900)
_MAX_MESSAGE_BYTES = 64 * 2**20
_QUIET_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


class BrowserFailed(RuntimeError):
    """Chromium is missing, did not start, or refused a command."""


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol. Raises BrowserFailed with the browser's reason."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") != number:
                continue  # an event nobody asked for
            if "error" in answer:
                raise BrowserFailed(f"{method}: {answer['error']}")
            result: dict[str, Any] = answer["result"]
            return result

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str, within_s: float) -> None:
        """Until the page says yes. Raises BrowserFailed with what it shows instead."""
        deadline = time.monotonic() + within_s
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise BrowserFailed(
                    f"not within {within_s:g} s: {expression}; {self.evaluate('document.body.innerText')}"
                )
            time.sleep(0.25)

    def open(self, url: str, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """A Chromium with a profile of its own, gone with the block."""
    if shutil.which("chromium") is None:
        raise BrowserFailed("chromium is not on PATH: apt-get install chromium")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fraud-browser-", ignore_cleanup_errors=True) as profile:
        flags = [*_QUIET_FLAGS, f"--remote-debugging-port={port}", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(tethered(["chromium", *flags]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_first_tab(port), max_size=_MAX_MESSAGE_BYTES) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(10)


def _first_tab(port: int) -> str:
    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/json", timeout=5) as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        except OSError:
            if time.monotonic() > deadline:
                raise BrowserFailed(f"chromium did not answer within {_START_WITHIN_S:g} s") from None
        time.sleep(0.2)


def lineage(page: Page, dagster_url: str, path: Path) -> None:
    """The asset graph by groups, some of them open, with what Dagster knows of each."""
    opened = ",".join(f"global@global:{group}" for group in OPEN_GROUPS)
    page.open(
        f"{dagster_url}/asset-groups?expanded={opened}", *LINEAGE_SIZE
    )  # smaller, and Dagster leaves the edges out
    page.wait_for("document.querySelectorAll('foreignObject').length > 3", within_s=120)
    page.wait_for("!document.body.innerText.includes('fetching statuses')", within_s=60)
    page.save(path)


def report(page: Page, file: Path, path: Path) -> None:
    """The top of a run's report."""
    page.open(file.absolute().as_uri(), 1280, 1500)
    page.wait_for("document.readyState === 'complete' && document.querySelectorAll('svg').length > 0", within_s=30)
    page.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.screenshots", description=__doc__)
    parser.add_argument("--demo", type=Path, help="folder of a finished demo; its Dagster is started for the pictures")
    parser.add_argument("--dagster", help="URL of a running Dagster webserver")
    parser.add_argument("--report", type=Path, help="a run's report.html")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    chosen = parser.parse_args()
    with contextlib.ExitStack() as at_work:
        page = at_work.enter_context(browser())
        dagster = at_work.enter_context(dagster_of(chosen.demo)) if chosen.demo else chosen.dagster
        page_file = chosen.demo / "report.html" if chosen.demo else chosen.report
        if dagster:
            lineage(page, dagster, chosen.out / "lineage.png")
        if page_file:
            report(page, page_file, chosen.out / "report.png")


@contextmanager
def dagster_of(demo: Path) -> Iterator[str]:
    """The URL of a Dagster that shows what the demo's runs left in its folder."""
    days = Lake(str(demo / "lake")).days("transactions")
    if not days:
        raise BrowserFailed(f"{demo} holds no finished demo: run `make demo` first")
    with running(["dagster-code", "dagster-webserver"], demo, {"FRAUD_HISTORY_START": days[0]}) as stack:
        yield stack.env["FRAUD_DAGSTER_URL"]


if __name__ == "__main__":
    main()
