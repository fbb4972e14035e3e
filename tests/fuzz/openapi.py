"""Requests that Schemathesis makes from the scorer's own OpenAPI document, right and wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

WITHIN_S = 3_600

# What a schema cannot say is refused all the same: a time ahead of the clock, a NUL. So that a request fits the
# schema does not mean that it is taken.
_NOT_OURS = "positive_data_acceptance"


class Checked(NamedTuple):
    """cases: requests sent. accepted: answers of 2xx to requests that fit the schema. failures: what broke a promise."""

    cases: int
    accepted: int
    failures: list[str]


def check(
    url: str, headers: dict[str, str], examples: int, seed: int, folder: Path, *, corners: bool = True
) -> Checked:
    """All operations with these headers, `examples` times each; corners: some 700 corner cases of the schema beside.

    Judged: no 5xx, statuses, types and bodies as documented, wrong data and missing keys refused.
    """
    report = folder / "report.json"
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/schema", "--no-color", f"--phases={'coverage,' * corners}fuzzing",
        f"--exclude-checks={_NOT_OURS}", f"--max-examples={examples}", f"--seed={seed}", "--continue-on-failure",
        "--generation-database=none", "--report=json", f"--report-json-path={report}", "--warnings=off",
        *(f"--header={name}: {value}" for name, value in headers.items()),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    if not report.exists():
        raise RuntimeError(f"Schemathesis wrote no report:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    told = json.loads(report.read_text())
    report.unlink()
    failed = told["test_cases"]["with_failures"] or told["errors"] or done.returncode
    rates = [rate for phases in told["valid_rates"].values() for rate in phases.values()]
    return Checked(
        told["test_cases"]["generated"],
        sum(rate["accepted"] for rate in rates),
        [done.stdout[-6000:]] if failed else [],
    )
