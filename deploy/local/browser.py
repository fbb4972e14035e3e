"""A headless Chromium of the distribution's, driven through its own debugging protocol."""

import base64
import io
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

from PIL import Image
from websockets.sync.client import ClientConnection, connect

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.tether import tethered

_START_WITHIN_S = 60.0
_MAX_MESSAGE_BYTES = 64 * 2**20
_MARGIN_PX = 36
_STILL_LOOKS = 4
_SETTLED_WITHIN_S = 30.0
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

    def settle(self) -> None:
        """Until nothing has been fetched and nothing was written anew for a while: what is drawn moves until then."""
        deadline, before, still = time.monotonic() + _SETTLED_WITHIN_S, None, 0
        while still < _STILL_LOOKS and time.monotonic() < deadline:
            now = self.evaluate("[performance.getEntriesByType('resource').length, document.body.innerText]")
            before, still = now, still + 1 if now == before else 0
            time.sleep(1)

    def open(self, url: str, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)

    def save(self, path: Path, around: str | None = None) -> None:
        """around: an expression for elements; the picture is then of what holds them all, with a margin."""
        clip = {} if around is None else {"clip": {**self.evaluate(_box(around)), "scale": 1}}
        path.parent.mkdir(parents=True, exist_ok=True)
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"])
        # A page of text and lines has few colours; with a byte for each pixel it is half as large.
        Image.open(io.BytesIO(png)).convert("RGB").quantize(dither=Image.Dither.NONE).save(path, optimize=True)


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


def _box(elements: str) -> str:
    """An expression for the rectangle around some elements, within the page."""
    return f"""(() => {{
        const all = [...{elements}].map(one => one.getBoundingClientRect());
        const [x, y] = [Math.min(...all.map(r => r.left)) - {_MARGIN_PX}, Math.min(...all.map(r => r.top)) - {_MARGIN_PX}];
        const right = Math.min(Math.max(...all.map(r => r.right)) + {_MARGIN_PX}, innerWidth);
        const bottom = Math.min(Math.max(...all.map(r => r.bottom)) + {_MARGIN_PX}, innerHeight);
        return {{x: Math.max(x, 0), y: Math.max(y, 0), width: right - Math.max(x, 0), height: bottom - Math.max(y, 0)}};
    }})()"""
