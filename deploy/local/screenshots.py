"""Pictures for the docs, taken in a real browser: of finished demos, or of a running stack.

python -m deploy.local.screenshots --demo var/demo --drift-demo var/drift-demo
python -m deploy.local.screenshots --dashboards var/dashboards-check
python -m deploy.local.screenshots --dagster http://127.0.0.1:3000 --report var/demo/report.html --out docs/images

Needs `chromium` on PATH (apt-get install chromium). Of the drift demo, whose checks have failed and whose rollouts were halted, are the
pictures of monitoring and rollout; the reports that it has not made are made first.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.local.browser import BrowserFailed, Page, browser
from deploy.local.demo_steps import start
from deploy.local.panels_asked import DASHBOARDS
from deploy.local.stack import Stack, running
from fraud_assets.stores.lake import Lake

# Those whose assets a picture has room for.
OPEN_GROUPS = ("training", "monitoring")
LINEAGE_SIZE = (3600, 2900)
GROUP_SIZE = (2600, 900)
PAGE_WIDTH = 1400
PLOTS_SIZE = (1400, 3400)
BOXES = "document.querySelectorAll('foreignObject')"
# Of one day, and of all days.
REPORTS = ("skew_report,prediction_drift,calibration_report,performance_report", "decision_chain_report")


def lineage(page: Page, dagster_url: str, path: Path) -> None:
    """The asset graph by groups, some of them open, with what Dagster knows of each."""
    opened = ",".join(f"global@global:{group}" for group in OPEN_GROUPS)
    page.open(
        f"{dagster_url}/asset-groups?expanded={opened}", *LINEAGE_SIZE
    )  # smaller, and Dagster leaves the edges out
    page.wait_for("document.querySelectorAll('foreignObject').length > 3", within_s=120)
    page.wait_for("!document.body.innerText.includes('fetching statuses')", within_s=60)
    page.save(path)


def group(page: Page, dagster_url: str, name: str, path: Path) -> None:
    """A group's assets side by side, with their newest checks, and what they are made of."""
    url = f"{dagster_url}/locations/__repository__@fraud_assets/asset-groups/{name}/lineage"
    page.open(url, *GROUP_SIZE)
    page.wait_for("document.readyState === 'complete'", within_s=60)
    page.evaluate("localStorage.setItem('asset-graph-direction', JSON.stringify('vertical'))")
    page.open(url, *GROUP_SIZE)
    page.wait_for(f"[...{BOXES}].some(box => box.textContent.includes('Asset checks'))", within_s=120)
    page.wait_for(
        "!document.querySelector('foreignObject [role=progressbar], foreignObject .bp5-spinner')", within_s=60
    )
    page.settle()
    page.save(path, around=BOXES)


def failed_check(page: Page, dagster_url: str, asset: str, height: int, path: Path) -> None:
    """The checks of an asset, the first of them with its numbers over time."""
    page.open(f"{dagster_url}/assets/{asset}?view=checks", PAGE_WIDTH, height)
    page.wait_for("document.body.innerText.includes('Latest execution')", within_s=120)
    page.settle()
    page.save(path)


def plots(page: Page, dagster_url: str, asset: str, path: Path) -> None:
    """An asset's numbers over time, as Dagster draws its metadata."""
    page.open(f"{dagster_url}/assets/{asset}", *PLOTS_SIZE)
    button = "[...document.querySelectorAll('button')].find(one => one.textContent === 'Plots')"
    page.wait_for(f"{button} !== undefined", within_s=120)
    page.evaluate(f"{button}.click()")
    page.wait_for("document.querySelectorAll('canvas').length > 1", within_s=60)
    page.settle()
    page.save(path, around=f"[{button}, ...document.querySelectorAll('canvas')]")


def report(page: Page, file: Path, path: Path) -> None:
    """The top of a run's report."""
    page.open(file.absolute().as_uri(), 1280, 1500)
    page.wait_for("document.readyState === 'complete' && document.querySelectorAll('svg').length > 0", within_s=30)
    page.save(path)


def dashboards(page: Page, folder: Path, out: Path) -> None:
    """The pages that a check of the dashboards has drawn. Raises BrowserFailed if there are none."""
    files = [folder / f"{path.stem}.html" for path in sorted(DASHBOARDS.glob("*.json"))]
    for file in files:
        if not file.exists():
            raise BrowserFailed(f"{file} is not there: run `make dashboards-check` first")
        page.open(file.absolute().as_uri(), PAGE_WIDTH, 1_000)
        page.wait_for("document.readyState === 'complete'", within_s=30)
        page.open(file.absolute().as_uri(), PAGE_WIDTH, int(page.evaluate("document.documentElement.scrollHeight")))
        page.settle()
        page.save(out / f"dashboard-{file.stem}.png")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.screenshots", description=__doc__)
    parser.add_argument("--demo", type=Path, help="folder of a finished demo; its Dagster is started for the pictures")
    parser.add_argument("--drift-demo", type=Path, help="folder of a finished drift demo, likewise")
    parser.add_argument(
        "--dashboards", type=Path, help="folder of a finished check of the dashboards, which has drawn them"
    )
    parser.add_argument("--dagster", help="URL of a running Dagster webserver")
    parser.add_argument("--report", type=Path, help="a run's report.html")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    chosen = parser.parse_args()
    with browser() as page:
        _of_demo(page, chosen)
        if chosen.drift_demo:
            _of_drift_demo(page, chosen.drift_demo, chosen.out)
        if chosen.dashboards:
            dashboards(page, chosen.dashboards, chosen.out)


def _of_demo(page: Page, chosen: argparse.Namespace) -> None:
    with ExitStack() as at_work:
        dagster = (
            at_work.enter_context(dagster_of(chosen.demo)).env["FRAUD_DAGSTER_URL"] if chosen.demo else chosen.dagster
        )
        page_file = chosen.demo / "report.html" if chosen.demo else chosen.report
        if dagster:
            lineage(page, dagster, chosen.out / "lineage.png")
        if page_file:
            report(page, page_file, chosen.out / "report.png")


def _of_drift_demo(page: Page, demo: Path, out: Path) -> None:
    with dagster_of(demo) as stack:
        url = stack.env["FRAUD_DAGSTER_URL"]
        make_reports(stack.env, Lake(str(demo / "lake")).days("decisions")[-1])
        group(page, url, "monitoring", out / "monitoring.png")
        group(page, url, "rollout", out / "rollout.png")
        failed_check(page, url, "drift_report", 1350, out / "drift_check.png")
        failed_check(page, url, "rollout_evidence", 620, out / "rollout_check.png")
        plots(page, url, "rollout_evidence", out / "rollout_plots.png")


def make_reports(env: Mapping[str, str], day: str) -> None:
    """What monitors a day, as its schedules would. Raises BrowserFailed if a run fails; a check may."""
    for selection, partition in zip(REPORTS, (["--partition", day], []), strict=True):
        argv = ["-m", "dagster", "asset", "materialize", "-m", "fraud_assets.definitions", "--select", selection]
        process = start([sys.executable, *argv, *partition], env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        if process.wait():
            raise BrowserFailed(f"{selection} of {day} could not be made: {' '.join(argv)}")


@contextmanager
def dagster_of(demo: Path) -> Iterator[Stack]:
    """A Dagster that shows what a demo's runs left in its folder."""
    days = Lake(str(demo / "lake")).days("transactions")
    if not days:
        raise BrowserFailed(f"{demo} holds no finished demo: run `make demo`, or `make drift-demo`, first")
    with running(["dagster-code", "dagster-webserver"], demo, {"FRAUD_HISTORY_START": days[0]}) as stack:
        yield stack


if __name__ == "__main__":
    main()
