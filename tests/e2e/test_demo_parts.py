"""The demo's parts that need no servers: whose folder it may wipe, what a failure says, what its summary holds."""

import os
import re
import sys
from io import StringIO
from pathlib import Path

import msgspec
import psutil
import pytest
from rich.console import Console

from deploy.local.demo_folder import MARKER, NotOurs, Owner, claim
from deploy.local.demo_run import STEPS
from deploy.local.demo_steps import StepFailed, Steps
from deploy.local.demo_summary import Attack, Cases, Skew, Summary, print_summary
from deploy.local.written import write_json
from simulator.metrics import Percentiles, metrics_of
from simulator.results import RunResult


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(Console(file=(tmp_path / "said").open("w"), width=100), 2, tmp_path / "logs", {"ANSWER": "42"})


def summary(**changes: object) -> Summary:
    whole = Summary(
        decisions=10,
        decisions_per_s=5.0,
        latency_ms=Percentiles(1.0, 2.0, 3.0),
        attack=Attack(recall=0.9, precision=0.8),
        skew=Skew(checked=10, mismatches=0),
        seconds=12.5,
        purchases=12,
        unanswered=Cases(count=2, reasons={"timeout": 2}),
        degraded=Cases(count=1, reasons={"online_store_timeout": 1}),
        stale_reads=3,
        pending=0,
    )
    return msgspec.structs.replace(whole, **changes)


def nothing_happened() -> RunResult:
    return RunResult(
        scenario="card-testing", summary="", seed=7, rate_per_s=1.0, duration_s=1.0, elapsed_s=1.0, started_ms=0,
        targets=[], bands=[], purchases=[], published={}, delivery_failures=0, in_flight_peak=0,
    )  # fmt: skip


# -- the folder --------------------------------------------------------------------------------------


def test_a_folder_that_no_demo_made_is_never_wiped(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")

    with pytest.raises(NotOurs, match="no demo made it"):
        claim(tmp_path)

    assert precious.read_text() == "years of work"


def test_a_former_demos_folder_is_wiped(tmp_path: Path) -> None:
    gone = Owner(pid=2**22 - 1, create_time_s=1.0)
    (tmp_path / MARKER).write_bytes(msgspec.json.encode(gone))
    (tmp_path / "lake").mkdir()

    claim(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


def test_a_folder_in_which_a_demo_is_at_work_is_left_alone(tmp_path: Path) -> None:
    parent = psutil.Process(os.getppid())
    (tmp_path / MARKER).write_bytes(msgspec.json.encode(Owner(parent.pid, parent.create_time())))

    with pytest.raises(NotOurs, match="at work"):
        claim(tmp_path)


# -- steps -------------------------------------------------------------------------------------------


def test_a_failed_command_names_its_step_and_ends_with_its_log(steps: Steps) -> None:
    with pytest.raises(StepFailed) as caught, steps.step("the broken one") as step:
        steps.run(step, "broken", [sys.executable, "-c", "print('so far'); raise SystemExit(3)"], str, within_s=30)

    message = str(caught.value)
    assert message.startswith("step 1 of 2, the broken one: ")
    assert "ended with 3" in message
    assert message.endswith("| so far")
    assert str(steps.log_path("broken")) in message


def test_a_command_that_hangs_is_stopped_and_said_to_have_hung(steps: Steps) -> None:
    hang = "import time; time.sleep(600)"

    with pytest.raises(StepFailed, match="not done within"), steps.step("the slow one") as step:
        steps.run(step, "slow", [sys.executable, "-c", hang], str, within_s=0.5)

    assert not any(hang in " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True))


def test_a_command_sees_the_stacks_environment(steps: Steps) -> None:
    with steps.step("ask") as step:
        said = steps.run(
            step, "ask", [sys.executable, "-c", "import os; print(os.environ['ANSWER'])"], str, within_s=30
        )

    assert said.strip() == "42"


def test_a_log_gets_one_line_for_a_finished_step(tmp_path: Path) -> None:
    """Where nothing can be redrawn: no blank lines, and no breaks that would cut an address in two."""
    said = StringIO()
    steps = Steps(Console(file=said, width=40), 1, tmp_path, {})

    with steps.step("the quick one") as step:
        step.result = "http://127.0.0.1:3000/a/rather/long/address"

    first, second = said.getvalue().splitlines()
    assert first == "[1/1] the quick one …"
    assert second.startswith("✔ [1/1] the quick one ") and second.endswith("/long/address")


def test_the_page_of_the_demo_lists_every_step(root: Path) -> None:
    numbers = re.findall(r"^\| (\d+) \|", (root / "docs" / "demo.md").read_text(), re.MULTILINE)

    assert numbers == [str(number) for number in range(1, STEPS + 1)]


# -- the summary -------------------------------------------------------------------------------------


def test_the_summary_has_exactly_the_promised_keys(tmp_path: Path) -> None:
    write_json(summary(pending=4), tmp_path / "summary.json")

    assert msgspec.json.decode((tmp_path / "summary.json").read_bytes()) == {
        "decisions": 10,
        "decisions_per_s": 5.0,
        "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
        "attack": {"recall": 0.9, "precision": 0.8},
        "skew": {"checked": 10, "mismatches": 0},
        "seconds": 12.5,
        "purchases": 12,
        "unanswered": {"count": 2, "reasons": {"timeout": 2}},
        "degraded": {"count": 1, "reasons": {"online_store_timeout": 1}},
        "stale_reads": 3,
        "pending": 4,
    }


def test_nothing_that_went_less_than_well_is_hidden() -> None:
    console = Console(width=120, record=True, file=StringIO())

    print_summary(console, summary(pending=4), metrics_of(nothing_happened()), {})

    said = [" ".join(line.strip("│ ").split()) for line in console.export_text().splitlines()]
    for line in (
        "unanswered 2 of 12 purchases: 2× timeout",
        "degraded 1 decided without history: 1× online_store_timeout",
        "stale reads 3 vectors lacked what had arrived a second before",
        "pending 4 decisions not yet in the lake, so not checked",
    ):
        assert line in said


def test_an_attack_of_which_one_purchase_got_through_was_not_caught_whole() -> None:
    figures = metrics_of(nothing_happened())
    attack = msgspec.structs.replace(figures.attack, decided=347, caught=346, recall=0.9971, precision=0.0029)
    console = Console(width=120, record=True, file=StringIO())

    print_summary(console, summary(), msgspec.structs.replace(figures, attack=attack), {})

    said = [" ".join(line.strip("│ ").split()) for line in console.export_text().splitlines()]
    assert "attack, recall 99.7% 346 of 347 purchases caught" in said
    assert "attack, precision 0.3% 0 honest purchases flagged" in said


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"decisions": 0}, "decided nothing"),
        ({"skew": Skew(checked=0, mismatches=0)}, "no served vector was checked"),
        ({"skew": Skew(checked=10, mismatches=1)}, "1 of 10 served vectors differ"),
        ({"attack": Attack(recall=None, precision=None)}, "nothing of the attack was decided"),
        ({"pending": 4}, "4 decisions are not in the lake yet"),
        ({"skew": Skew(checked=8, mismatches=0)}, "8 vectors were checked of 9 decisions that read history"),
    ],
)
def test_a_demo_that_proves_nothing_is_no_success(changes: dict[str, object], problem: str) -> None:
    (found,) = summary(**changes).problems()

    assert problem in found


def test_a_good_demo_has_no_problems() -> None:
    assert summary().problems() == []
    assert summary(skew=Skew(checked=9, mismatches=0)).problems() == []  # the tenth was degraded: it read nothing
