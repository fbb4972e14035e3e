"""The layout and the import rules of docs/architecture.md, asserted on the files and on processes.

import-linter reads imports; the subprocess tests below watch what is really loaded, so that an
import inside a function, or a library that loads another one, is seen too.
"""

import ast
import contextlib
import functools
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("fraud_assets", "streaming", "api", "simulator")
RUNTIMES = ("streaming", "api", "simulator")
# Four seconds together; a Dagster command that trains and draws nothing need not wait for them.
ONLY_TO_TRAIN_AND_DRAW = {"evidently", "matplotlib", "mlflow", "pandas", "sklearn", "xgboost"}
HEAVY = {"dagster", "duckdb", "evidently", "mlflow", "optuna", "pandas", "polars", "pyspark"}

# What every runtime may share; engine/spark.py is the one exception of DESIGN, and no runtime's.
PURE_CORE = ("contracts", "features", "engine", "models", "policy", "rollout", "settings")
OUTSIDE_THE_PURE_CORE = {"fraud_assets.engine.spark"}

# Distribution name -> the module that must be imported somewhere outside the tests.
DESIGN_PACKAGES = {
    "dagster": "dagster",
    "dagster-duckdb": "dagster_duckdb",
    "dagster-mlflow": "dagster_mlflow",
    "duckdb": "duckdb",
    "evidently": "evidently",
    "litestar": "litestar",
    "mlflow": "mlflow",
    "optuna": "optuna",
    "polars": "polars",
    "quixstreams": "quixstreams",
    "redis": "redis",
    "xgboost-cpu": "xgboost",
}

TOP_LEVEL_FILES = (
    "CHANGELOG.md",
    "Makefile",
    "README.md",
    "dagster.yaml",
    "docker-compose.yml",
    "docs/architecture.md",
    "docs/glossary.md",
    "pyproject.toml",
    "requirements-audit.lock",
    "requirements-docs.lock",
    "requirements-peers.lock",
    "requirements-platform.lock",
    "requirements-scale.lock",
    "requirements-scorer.lock",
    "requirements.lock",
    "workspace.yaml",
)


def modules_of(package: str) -> list[Path]:
    # __pycache__ holds generated sources too: the request features that the engine compiles.
    return sorted(path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts)


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    # Python 3.11 miscounts, and says so, where another thread formats a traceback meanwhile: that parses too.
    for _ in range(10):
        with contextlib.suppress(SystemError):
            return ast.parse(path.read_text(), filename=str(path))
    raise AssertionError(f"{path} cannot be parsed")


def imported_names(path: Path) -> set[str]:
    """Every dotted name this file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
            names.add(node.module)
    return names


@functools.cache  # two tests ask for each runtime, and its imports take seconds
def loaded_by_importing(modules: tuple[str, ...], then: str = "") -> frozenset[str]:
    """What a fresh interpreter has loaded after importing these modules, and running a line of Python."""
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        f"{then}\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(modules)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


def tops(modules: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def importable(package: str) -> tuple[str, ...]:
    return tuple(dotted(path) for path in modules_of(package) if path.stem != "__main__")


# ------------------------------------------------------------------------------ what a process loads


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_loads_no_orchestrator_and_no_batch_engine(runtime: str) -> None:
    loaded = loaded_by_importing(importable(runtime))

    assert not tops(loaded) & HEAVY


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_loads_no_other_runtime(runtime: str) -> None:
    loaded = loaded_by_importing(importable(runtime))

    assert not tops(loaded) & (set(RUNTIMES) - {runtime})


def test_the_simulator_cannot_see_the_answers() -> None:
    loaded = loaded_by_importing(importable("simulator"))

    answers = ("fraud_assets.features", "fraud_assets.engine", "fraud_assets.models", "fraud_assets.policy")
    assert not {name for name in loaded if name.startswith(answers)}


def test_pricing_loads_no_model_and_nothing_of_the_scorers_own() -> None:
    loaded = loaded_by_importing(("api.pricing.app",))

    assert not {name for name in loaded if name.startswith(("fraud_assets.models", "fraud_assets.rollout"))}
    assert not loaded & {"api.runtime", "api.scorer", "api.lineup", "api.judge", "api.recording"}


@pytest.mark.parametrize("part", PURE_CORE)
def test_the_pure_core_loads_no_orchestrator_and_no_batch_engine(part: str) -> None:
    inside = (f"fraud_assets.{part}", f"fraud_assets.{part}.")
    modules = [name for name in importable("fraud_assets") if name == inside[0] or name.startswith(inside[1])]

    loaded = loaded_by_importing(tuple(name for name in modules if name not in OUTSIDE_THE_PURE_CORE))

    assert not tops(loaded) & HEAVY


def test_loading_the_asset_graph_does_not_wait_for_what_only_training_needs() -> None:
    """Each Dagster command loads it, and so does each run."""
    entry = "fraud_assets.definitions"

    loaded = loaded_by_importing((entry,), f"sys.modules['{entry}'].defs().get_repository_def()")

    assert "fraud_assets.defs.training.assets" in loaded
    assert not tops(loaded) & ONLY_TO_TRAIN_AND_DRAW


def test_importing_the_core_package_loads_nothing_else() -> None:
    before = loaded_by_importing(())

    assert loaded_by_importing(("fraud_assets",)) - before == {"fraud_assets"}


# ------------------------------------------------------------------------------- what the files say


def test_init_files_are_empty() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("__init__.py"):
            body = tree_of(path).body
            if path == ROOT / "fraud_assets" / "__init__.py":
                body = body[1:]  # its docstring says why it is empty
            assert not body, f"{path.relative_to(ROOT)} holds code"


def test_only_settings_reads_the_environment() -> None:
    for package in PACKAGES:
        for path in modules_of(package):
            if path == ROOT / "fraud_assets" / "settings.py":
                continue
            reads = [
                node.attr
                for node in ast.walk(tree_of(path))
                if isinstance(node, ast.Attribute) and node.attr in {"getenv", "environ"}
            ]
            named = imported_names(path) & {"os.getenv", "os.environ"}
            assert not reads, f"{path.relative_to(ROOT)} reads the environment; add a field to Settings"
            assert not named, f"{path.relative_to(ROOT)} reads the environment; add a field to Settings"


SERVING = (
    "api",
    "streaming",
    "fraud_assets/models",
    "fraud_assets/policy",
    "fraud_assets/engine",
    "fraud_assets/stores",
)
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "skops"}


def test_nothing_on_the_serving_path_unpickles() -> None:
    for folder in SERVING:
        for path in modules_of(folder):
            roots = tops(imported_names(path))
            assert not roots & UNPICKLERS, f"{path.relative_to(ROOT)} imports {roots & UNPICKLERS}"
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                    assert isinstance(node.value, ast.Constant), f"{path.relative_to(ROOT)}: allow_pickle"
                    assert node.value.value is False, f"{path.relative_to(ROOT)}: allow_pickle"


def test_only_defs_definitions_and_the_exporter_of_metrics_import_dagster() -> None:
    allowed = [ROOT / "fraud_assets" / name for name in ("defs", "definitions.py", "exporter")]
    for package in PACKAGES:
        for path in modules_of(package):
            if any(path.is_relative_to(one) for one in allowed):
                continue
            assert "dagster" not in tops(imported_names(path)), path.relative_to(ROOT)


def test_defs_never_postpone_annotations() -> None:
    """Dagster reads the annotations of an asset's parameters; postponed ones are strings to it."""
    for path in modules_of("fraud_assets/defs"):
        assert "__future__.annotations" not in imported_names(path), path.relative_to(ROOT)


# --------------------------------------------------------------------------- the house and its files


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirement_names(lines: list[str]) -> set[str]:
    return {re.split(r"[\[=<>!~; ]", line, maxsplit=1)[0].lower() for line in lines}


def peers_requirements() -> list[str]:
    """What `make bench-peers` installs, in an environment of its own."""
    lines = (ROOT / "benchmarks" / "peers" / "requirements.in").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def locked(name: str) -> dict[str, str]:
    """Distribution -> version of a lock file (the first, where Python versions differ)."""
    versions: dict[str, str] = {}
    for line in (ROOT / name).read_text().splitlines():
        if match := re.match(r"^([a-z0-9-]+)(?:\[[^]]*\])?==([^ ;\\]+)", line):
            versions.setdefault(match[1], match[2])
    return versions


def test_every_package_of_the_design_is_declared(project: dict[str, Any]) -> None:
    declared = requirement_names(project["project"]["dependencies"])
    declared |= requirement_names(project["project"]["optional-dependencies"]["platform"])

    assert set(DESIGN_PACKAGES) <= declared


@functools.cache
def imported_outside_the_tests() -> frozenset[str]:
    return frozenset().union(*(tops(imported_names(path)) for package in PACKAGES for path in modules_of(package)))


@pytest.mark.parametrize(("distribution", "module"), DESIGN_PACKAGES.items(), ids=list(DESIGN_PACKAGES))
def test_every_package_of_the_design_is_used(distribution: str, module: str) -> None:
    assert module in imported_outside_the_tests(), f"{distribution} is declared and never imported"


def declared(project: Mapping[str, Any], *, with_dev: bool) -> set[str]:
    """Distributions that the project file names; redis[hiredis] names two."""
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    lines = sum(groups, list(project["dependency-groups"]["dev"]) if with_dev else [])
    extras = {extra for line in lines for extra in re.findall(r"\[([a-z0-9,-]+)\]", line)}
    return requirement_names(lines) | {name for extra in extras for name in extra.split(",")}


@functools.cache
def distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def undeclared(path: Path, names: set[str]) -> set[str]:
    """Third-party modules this file imports whose distribution is not among names."""
    known = sys.stdlib_module_names | {*PACKAGES, "deploy", "benchmarks", "tests"}
    return {
        module
        for module in tops(imported_names(path)) - known
        if not {name.lower().replace("_", "-") for name in distributions().get(module, [module])} & names
    }


@pytest.mark.parametrize("folder", [*PACKAGES, "deploy", "benchmarks", "tests"])
def test_every_import_is_declared(project: dict[str, Any], folder: str) -> None:
    """What another package happens to bring along may leave with its next version."""
    for path in modules_of(folder):
        for_tests = folder in ("benchmarks", "tests") or path.name == "testing.py"
        names = declared(project, with_dev=for_tests)
        if path.parent.name == "peers":
            names |= requirement_names(peers_requirements())
        if path.name in ("spark.py", "spark_views.py") or path.parent.name == "scale":
            names |= requirement_names(project["dependency-groups"]["scale"])
        missing = undeclared(path, names)
        assert not missing, f"{path.relative_to(ROOT)} imports {missing}: declare it in pyproject.toml and make lock"


def test_what_the_scorer_loads_imports_only_the_scorers_packages(project: dict[str, Any]) -> None:
    """The scorer's image installs requirements-scorer.lock and nothing else."""
    dependencies = project["project"]["dependencies"]
    names = declared({"project": {"dependencies": dependencies, "optional-dependencies": {}}}, with_dev=False)
    ours = {name for name in loaded_by_importing(importable("api")) if name.startswith(("api.", "fraud_assets."))}

    for package in ("api", "fraud_assets"):
        for path in modules_of(package):
            if dotted(path) in ours:
                assert not undeclared(path, names), f"{path.relative_to(ROOT)}: {undeclared(path, names)}"


@pytest.mark.parametrize("name", TOP_LEVEL_FILES)
def test_every_top_level_file_exists(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_the_workspace_and_dg_call_the_code_location_by_one_name(project: dict[str, Any]) -> None:
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]

    assert entry["python_module"]["location_name"] == project["tool"]["dg"]["project"]["code_location_name"]
    assert entry["python_module"]["module_name"].partition(".")[0] == project["tool"]["dg"]["project"]["root_module"]


def test_a_wheel_holds_the_files_that_our_packages_read(project: dict[str, Any]) -> None:
    shipped = set(project["tool"]["setuptools"]["package-data"]["*"])
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.*"):
            if "__pycache__" not in path.parts and path.is_file() and path.suffix not in (".py", ".md"):
                assert f"*{path.suffix}" in shipped, f"{path.relative_to(ROOT)} is in no wheel"


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "requirements-scorer.lock",
        "requirements-peers.lock",
        "requirements-scale.lock",
        "requirements-audit.lock",
        "requirements-docs.lock",
    ],
)
def test_a_lock_names_no_registry_and_hashes_everything(name: str) -> None:
    text = (ROOT / name).read_text()

    assert "://" not in text
    assert "--index-url" not in text
    assert " /" not in text, "a path of one machine"
    for block in re.split(r"\n(?=[a-z])", text):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_lock_follows_the_project_file(project: dict[str, Any]) -> None:
    groups = project["project"]["optional-dependencies"]
    wanted = requirement_names(project["project"]["dependencies"] + groups["platform"] + groups["local"])
    wanted |= requirement_names(project["dependency-groups"]["dev"])

    assert wanted <= set(locked("requirements.lock")), "run make lock"


def test_the_peers_lock_follows_what_they_ask_for() -> None:
    """Its versions are those that were measured; of Feast at least, a newer one is another peer."""
    asked, made = peers_requirements(), locked("requirements-peers.lock")

    assert requirement_names(asked) <= set(made), "run make lock"
    pinned = {re.sub(r"\[.*]", "", line.split("==")[0]): line.split("==")[1] for line in asked if "==" in line}
    assert {"fastapi", "feast", "uvicorn", "xgboost-cpu"} <= set(pinned)
    assert {name: made[name] for name in pinned} == pinned, "run make lock"


def test_the_scorer_runs_the_versions_that_were_tested() -> None:
    full, scorer = locked("requirements.lock"), locked("requirements-scorer.lock")

    assert {name: full.get(name) for name in scorer} == scorer
    assert not set(scorer) & {"dagster", "duckdb", "mlflow", "pandas", "polars", "xgboost-cpu"}
