"""The ML engineer's page, from a declaration to a rollback, in a copy of the sources: it changes them."""

import shutil
from pathlib import Path

import pytest
from numba.core.caching import UserProvidedCacheLocator

from fraud_assets.engine.jit import cache_folder
from tests.e2e.pages import missing, run_page
from tests.history import LABEL_DELAY_DAYS, WARM_UP_DAYS, make_past

PAGE = "ml-engineer.md"
WITHIN_S = 1_200  # a hundred seconds of a core, which ten others want too


def copy_of(root: Path, home: Path) -> None:
    """The sources, and their machine code, which Numba keeps by where its sources lie."""
    shutil.copytree(root / "fraud_assets", home / "fraud_assets", ignore=shutil.ignore_patterns("numba-*"))
    shutil.copy2(root / "pyproject.toml", home)  # by which Dagster knows a project's root
    kept = cache_folder()
    place = kept.relative_to(root)
    for package in ("fraud_assets/engine", "fraud_assets/models", "fraud_assets/stores", str(place)):
        before, now = (_subfolder(folder / package) for folder in (root, home))
        shutil.copytree(kept / before, home / place / now)
    for made in kept.glob("*.py"):
        shutil.copy2(made, home / place)


def _subfolder(package: Path) -> str:
    name: str = UserProvidedCacheLocator.get_suitable_cache_subpath(str(package / "any.py"))
    return name


@pytest.mark.timeout(WITHIN_S + 60)
def test_the_page_runs_from_a_declaration_to_a_rollback(root: Path, tmp_path: Path) -> None:
    copy_of(root, tmp_path)
    var_dir = tmp_path / "var"
    make_past(var_dir)
    (var_dir / "dagster").mkdir()
    shutil.copy2(root / "dagster.yaml", var_dir / "dagster")
    settings = {
        "FRAUD_VAR_DIR": str(var_dir), "FRAUD_LABEL_DELAY_DAYS": str(LABEL_DELAY_DAYS), "FRAUD_WARM_UP_DAYS": str(WARM_UP_DAYS),
        "FRAUD_TUNING_TRIALS": "0", "DAGSTER_DISABLE_TELEMETRY": "yes", "DO_NOT_TRACK": "1",
    }  # fmt: skip

    ran = run_page(root / "docs" / "walkthroughs" / PAGE, tmp_path, tmp_path, {}, settings, within_s=WITHIN_S)

    assert sum(bool(one.shown) for one in ran) == 7
    for one in ran:
        assert missing(one) == [], f"{one.command}\nprinted\n{one.printed}"
