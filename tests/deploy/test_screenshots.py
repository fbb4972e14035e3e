"""The Dagster UI in a real browser: what the docs' picture of the asset graph is taken of."""

import os
import shutil
import struct
from collections import Counter
from pathlib import Path

import pytest

from deploy.local.browser import browser
from deploy.local.screenshots import GROUP_SIZE, LINEAGE_SIZE, OPEN_GROUPS, group, lineage
from deploy.local.stack import running
from fraud_assets.definitions import defs as definitions

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(420)]

# The boxes of the graph are foreign objects in its SVG; the list beside it, which has the same names, is not.
BOXES = "[...document.querySelectorAll('foreignObject')].map(box => box.textContent)"


@pytest.fixture
def chromium() -> None:
    """Skips without Chromium, and fails with CI=true."""
    if shutil.which("chromium") is None:
        in_ci = os.environ.get("CI", "").lower() == "true"
        (pytest.fail if in_ci else pytest.skip)("no Chromium on this machine (make test-browser installs it)")


@pytest.mark.usefixtures("chromium")
def test_a_browser_shows_the_asset_graph_by_its_groups(tmp_path: Path) -> None:
    """A box for each group, with the number of its assets, or for each asset of those that are open; and the picture of that page."""
    specs = definitions().resolve_all_asset_specs()
    closed = Counter(str(spec.group_name) for spec in specs if spec.group_name not in OPEN_GROUPS)
    opened = sorted(spec.key.path[-1] for spec in specs if spec.group_name in OPEN_GROUPS)
    picture = tmp_path / "lineage.png"

    with browser() as page, running(["dagster-code", "dagster-webserver"], tmp_path / "var") as stack:
        lineage(page, stack.env["FRAUD_DAGSTER_URL"], picture)
        page.wait_for(f"{BOXES}.filter(text => /[0-9]$/.test(text)).length >= {len(closed)}", within_s=60)
        boxes = page.evaluate(BOXES)

    assert {f"{group}{assets}" for group, assets in closed.items()} <= set(boxes)
    assert sorted(name for name in opened if any(box.startswith(name) for box in boxes)) == opened
    png = picture.read_bytes()
    assert png.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">II", png[16:24]) == LINEAGE_SIZE


@pytest.mark.usefixtures("chromium")
def test_a_group_is_shown_with_its_checks_and_nothing_around_it(tmp_path: Path) -> None:
    """A box with its checks for each asset of the group and of no other; the picture is of the boxes alone."""
    specs = definitions().resolve_all_asset_specs()
    names = sorted(spec.key.path[-1] for spec in specs if spec.group_name == "monitoring")
    picture = tmp_path / "monitoring.png"

    with browser() as page, running(["dagster-code", "dagster-webserver"], tmp_path / "var") as stack:
        group(page, stack.env["FRAUD_DAGSTER_URL"], "monitoring", picture)
        boxes = [text for text in page.evaluate(BOXES) if "Asset checks" in text]

    assert sorted(name for name in names if any(box.startswith(name) for box in boxes)) == names
    assert len(boxes) == len(names)
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert len(names) * 300 < width < GROUP_SIZE[0] and height < GROUP_SIZE[1] / 2
