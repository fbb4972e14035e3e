"""The README tells the truth: its walkthrough runs, and its commands exist."""

import re
import runpy
from pathlib import Path

import pytest

from api.intake import parse
from api.pricing.intake import requests_of
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.settings import DEVELOPMENT_TOKEN_KEY

BEGIN, END = "<!-- walkthrough: the Python blocks", "<!-- walkthrough: end -->"
KEY = TokenKey.of("dev", DEVELOPMENT_TOKEN_KEY)


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_walkthrough_runs_as_written(readme: str, tmp_path: Path) -> None:
    blocks = python_blocks(readme.split(BEGIN, 1)[1].split(END, 1)[0])
    assert len(blocks) >= 3
    assert "assert " in blocks[-1], "the walkthrough must end in a claim"
    # A file, not exec: the registry reads the source text of request features for their digest.
    script = tmp_path / "walkthrough.py"
    script.write_text("\n".join(blocks))

    runpy.run_path(str(script))


def test_the_payment_of_the_readme_is_one_that_the_scorer_takes(readme: str) -> None:
    """As a shell would send it: the time is filled in between the quotes."""
    (body,) = re.findall(r"curl http://127.0.0.1:8000/predict .*? -d '(.*?})'", readme, re.DOTALL)
    now_s = 1_790_856_000

    parsed = parse(body.replace("'$(date +%s)'", str(now_s)).encode(), KEY, now_s * 1000)

    (event,) = parsed.events
    assert (event.account_id, event.event_time_ms) == ("anna", now_s * 1000)


def test_the_event_of_the_readme_is_one_that_pricing_takes(readme: str) -> None:
    (body,) = re.findall(r"curl http://127.0.0.1:8001/price .*? -d '(.*?})'", readme, re.DOTALL)
    now_s = 1_790_856_000
    filled = body.replace("'$(date +%s)'", str(now_s)).replace("'$(($(date +%s) + 86400))'", str(now_s + 86_400))

    _, (event,) = requests_of(filled.encode(), now_s * 1000)

    assert (event.event_id, event.starts_at_ms - event.event_time_ms) == ("opera-tonight", 86_400_000)


def test_every_make_command_of_the_readme_is_a_target(readme: str, root: Path) -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None

    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", readme, re.MULTILINE))

    assert named <= set(phony[1].split())
    assert {"demo", "test", "check"} <= named


def test_every_module_that_a_page_says_to_run_can_be_run(root: Path) -> None:
    for page in [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "deploy").rglob("*.md")]:
        for module in re.findall(
            r"python -m ((?:fraud_assets|streaming|api|simulator|deploy|benchmarks)[\w.]*)", page.read_text()
        ):
            path = root.joinpath(*module.rstrip(".").split("."))
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"{page.name}: {module}"


def test_every_benchmark_that_a_page_names_exists(root: Path) -> None:
    for part in re.findall(r"ONLY=(\w+)", (root / "docs" / "benchmarks.md").read_text()):
        assert list((root / "benchmarks").glob(f"{part}*.py")), part


def test_every_link_of_the_docs_leads_somewhere(root: Path) -> None:
    for page in [root / "README.md", *(root / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(root)} links to {target}"
