"""What the commands say of a model that was trained, and with which exit code."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from mlflow.tracking import MlflowClient

from fraud_assets.contracts.events import Decision
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.artifact import publish_champion, write_artifact
from fraud_assets.models.manifest import MODEL_FILE, Manifest
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from fraud_assets.training import store
from fraud_assets.training.__main__ import main
from fraud_assets.training.as_of import manifest_of
from fraud_assets.training.dataset import TrainingSet, training_set, window_as_of
from fraud_assets.training.evaluation import EVALUATION_FILE, Curve, Evaluation
from fraud_assets.training.lineage import Serving, lineage
from fraud_assets.training.package import code_revision
from fraud_assets.training.recipe import RECIPE_FILE, Recipe, read_recipe
from fraud_assets.training.reproduce import NotKept, reproduce
from fraud_assets.training.run import train
from fraud_assets.training.tune import Budget
from fraud_assets.training.versions_page import NoModels, Version, curves, last_versions, render
from tests.history import END_MS, LABEL_DELAY_DAYS, START_MS, Past
from tests.models.made import Trained
from tests.training.test_evaluation import evaluated

AS_OF = "2026-10-15"


@dataclass(frozen=True)
class Place:
    """A var folder whose lake is the past's, with one model and the set that it was made of."""

    var: Path
    found: TrainingSet
    manifest: Manifest

    @property
    def models(self) -> Path:
        return self.var / "models"

    @property
    def root(self) -> str:
        return str(self.var / "training")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command in a process of its own."""
        command = [sys.executable, "-m", "fraud_assets.training", *arguments]
        env = {**os.environ, "FRAUD_VAR_DIR": str(self.var)}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@pytest.fixture(scope="module")
def place(past: Past, tmp_path_factory: pytest.TempPathFactory) -> Place:
    var = tmp_path_factory.mktemp("var")
    (var / "lake").symlink_to(past.folder / "lake")
    found = training_set(past.lake, past.service, window_as_of(END_MS, 90, LABEL_DELAY_DAYS))
    store.save(str(var / "training"), AS_OF, found)
    made = train(found, past.service, var / "models", AS_OF, LABEL_DELAY_DAYS, Budget(2))
    publish_champion(var / "models", made.manifest.model_version)
    return Place(var, found, made.manifest)


def test_a_model_is_made_again_from_its_recipe_to_the_last_byte(place: Place) -> None:
    """In a process that knows nothing but the files."""
    done = place.run("reproduce", "champion")

    assert done.returncode == 0, done.stderr
    assert f"{place.manifest.model_version}: the same bytes, sha256 {place.manifest.files[MODEL_FILE]}" in done.stdout


def test_a_set_of_another_day_with_the_same_digest_will_do(place: Place, tmp_path: Path) -> None:
    """A day that was made again is another set now; a copy has the one that was."""
    store.save(str(tmp_path), AS_OF, replace(place.found, is_fraud=~place.found.is_fraud))
    store.save(str(tmp_path), "2026-10-16", place.found)

    assert reproduce(place.models, str(tmp_path), place.manifest.model_version).same


def other_recipe(place: Place, model_dir: Path, **changes: object) -> str:
    """The same bytes beside a recipe that did not make them."""
    recipe = read_recipe(place.models, place.manifest)
    assert recipe is not None
    changed = msgspec.structs.replace(recipe, **changes)
    raw = (place.models / place.manifest.model_version / MODEL_FILE).read_bytes()
    manifest = msgspec.structs.replace(place.manifest, model_version="other")
    write_artifact(model_dir / "other", raw, manifest, {RECIPE_FILE: msgspec.json.encode(changed)})
    return "other"


def recipe_of(place: Place) -> Recipe:
    recipe = read_recipe(place.models, place.manifest)
    assert recipe is not None
    return recipe


def test_what_differs_is_named_from_the_whole_to_the_part(place: Place, tmp_path: Path) -> None:
    rounds = recipe_of(place).rounds
    version = other_recipe(place, tmp_path, rounds=rounds + 1)

    found = reproduce(tmp_path, place.root, version)

    assert not found.same and found.sha256 != found.recorded_sha256
    assert f"{rounds + 1} trees, recorded are {rounds}" in found.differences


def test_another_seed_is_found_in_the_first_tree_it_changes(place: Place, tmp_path: Path) -> None:
    params = {**recipe_of(place).params, "seed": 8}

    found = reproduce(tmp_path, place.root, other_recipe(place, tmp_path, params=params))

    assert "tree 0 is the first that differs" in found.differences
    assert any(line.startswith("scores of the golden vectors differ by at most") for line in found.differences)


def test_a_library_that_has_changed_is_noted(place: Place, tmp_path: Path) -> None:
    """Also where it makes no difference; where there is one, it is the first suspect."""
    libraries = {**recipe_of(place).libraries, "numpy": "1.0"}

    found = reproduce(tmp_path, place.root, other_recipe(place, tmp_path, libraries=libraries))

    assert found.same
    assert any(note.endswith("it was 1.0") and note.startswith("numpy is ") for note in found.notes)


def test_the_command_fails_where_the_bytes_differ(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = other_recipe(place, tmp_path, rounds=recipe_of(place).rounds + 1)
    monkeypatch.setenv("FRAUD_VAR_DIR", str(place.var))
    monkeypatch.setenv("FRAUD_MODEL_DIR", str(tmp_path))

    assert main(["reproduce", version]) == 1
    assert "other: NOT reproduced" in capsys.readouterr().out


def test_a_set_that_is_not_kept_is_no_difference(place: Place, tmp_path: Path) -> None:
    """Nobody can tell; and how to get it again is said."""
    store.save(str(tmp_path), AS_OF, replace(place.found, is_fraud=~place.found.is_fraud))

    with pytest.raises(NotKept, match=f"Materialize training_set of {AS_OF}"):
        reproduce(place.models, str(tmp_path), place.manifest.model_version)


def test_a_version_that_is_not_there_cannot_be_told(place: Place) -> None:
    done = place.run("reproduce", "fraud-000000000000")

    assert done.returncode == 3
    assert "fraud-000000000000" in done.stderr.splitlines()[-1]


def test_lineage_leads_from_raw_days_to_who_serves(place: Place) -> None:
    done = place.run("lineage", "champion", "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    raw = {one["table"]: one for one in found["raw"]}
    assert (raw["transactions"]["days"], raw["transactions"]["first"], raw["transactions"]["last"]) == (
        14,
        "2026-10-01",
        "2026-10-14",
    )
    assert found["view_digests"] == place.manifest.view_digests
    assert found["training_set"] == {
        "digest": place.found.digest, "as_of": AS_OF, "window": ["2026-07-15", "2026-10-13"], "kept": True, "rows": len(place.found),
    }  # fmt: skip
    assert found["run"] is None  # nobody has registered it
    assert found["serving"] == {"champion": True, "decisions": 0, "first": None, "last": None}
    assert found["code_revision"] == code_revision()


def test_lineage_in_words_has_the_same_chain(place: Place) -> None:
    done = place.run("lineage", place.manifest.model_version)

    order = ["raw days of the lake", "features", "training set", "run", "model", "serving"]
    assert [line for line in done.stdout.splitlines() if not line.startswith(" ")] == order
    assert place.found.digest in done.stdout and place.manifest.service_digest in done.stdout


def test_decisions_of_a_version_are_counted_by_their_days(place: Place, tmp_path: Path) -> None:
    """Two of this model on two days and one of another; a decision's model is what it names."""
    shutil.copytree(place.var / "lake", tmp_path / "lake")
    lake, version = Lake(tmp_path / "lake"), place.manifest.model_version
    for number, (day, of) in enumerate([(1, version), (2, version), (3, "another")]):
        lake.append("decisions", decision(START_MS + day * DAY_MS, of, number), f"d{number}")

    found = lineage(place.models, place.root, lake, version, registry_of(tmp_path), "fraud")

    assert found.serving == Serving(champion=True, decisions=2, first="2026-10-02", last="2026-10-03")


def registry_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def decision(at_ms: int, version: str, offset: int) -> pa.Table:
    made = Decision(
        event_time_ms=at_ms, decision_id=f"d{offset}", transaction_id=f"t{offset}", account_id="a", request={}, decided_at_ms=at_ms,
        service="fraud_scoring", service_digest="", policy_digest="", model_version=version, model_sha256="", epoch="e", features=[],
        view_status={}, states=[], fraud_score=0.0, action="approve", reason_codes=[], degraded_reasons=[], self_included=False, latency_ms=0.0,
    )  # fmt: skip
    return from_events(Decision, [made], [LogPosition(at_ms, "decisions.v1", 0, offset)])


class Page(HTMLParser):
    """Rows of each table by its id, addresses, and which tags there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._table = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.append(tag)
        self.addresses += [str(said[name]) for name in ("href", "src") if name in said]
        if tag == "table":
            self._table = str(said["id"])
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in ("td", "th"):
            self.tables[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""

    def handle_data(self, data: str) -> None:
        if self._table and self.tables[self._table] and self.tables[self._table][-1]:
            self.tables[self._table][-1][-1] += data.strip()


def kept(model_dir: Path, trained: Trained, version: str, at_ms: int, evaluation: Evaluation | None) -> None:
    beside = {} if evaluation is None else {EVALUATION_FILE: msgspec.json.encode(evaluation)}
    write_artifact(model_dir / version, trained.booster_json, trained.manifest(version, created_at_ms=at_ms), beside)


@pytest.fixture
def three(tmp_path: Path, trained: Trained) -> Path:
    """Of before evaluations, the champion, and one with another threshold's counts and other features."""
    first = evaluated()
    other = evaluated(fraud=np.array([True, True, True, True, False, False]))
    kept(tmp_path, trained, "v1", 1, None)
    kept(tmp_path, trained, "v2", 2, msgspec.structs.replace(first, importances={"x": 3.0, "<b>": 1.0}))
    kept(tmp_path, trained, "v3", 3, msgspec.structs.replace(other, importances={"y": 1.0}))
    publish_champion(tmp_path, "v2")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{}")
    return tmp_path


def test_the_page_has_the_last_versions_side_by_side_by_hand(three: Path) -> None:
    """F1 of v2 is 2/3; v3 finds 3 of 4 and refuses nobody wrongly: 6/7. A quarter of v2's gain is one feature's."""
    page = Page(render(last_versions(three, 5)))

    rows = {row[0]: row for row in page.tables["versions"][1:]}
    assert list(rows) == ["v3", "v2champion", "v1"]
    assert (rows["v3"][2], rows["v2champion"][2]) == ("0.8571", "0.6667")
    assert rows["v3"][4] == "75.0 %"
    assert "before models carried an evaluation" in rows["v1"][2]
    assert page.tables["importances"][1:] == [["y", "100.0 %", "–"], ["x", "–", "75.0 %"], ["<b>", "–", "25.0 %"]]
    assert page.tables["slices"][1] == ["all", "75.0 % (4)", "66.7 % (3)"]


def test_the_page_asks_nothing_of_anybody(three: Path) -> None:
    """No network, no scripts; a feature's name is text."""
    page = Page(render(last_versions(three, 5)))

    assert page.addresses == []
    assert not {"script", "link", "img", "iframe", "b"} & set(page.tags)


def test_only_as_many_as_asked_for_are_shown_the_newest_first(three: Path) -> None:
    assert [version.name for version in last_versions(three, 2)] == ["v3", "v2"]


def test_a_curve_is_drawn_where_it_lies(trained: Trained) -> None:
    """Recall 0 is at x = 40 and 1 at 600; precision 0 at y = 320 and 1 at 40."""
    drawn = msgspec.structs.replace(evaluated(), curve=Curve([0.0, 0.5, 1.0], [1.0, 0.5, 0.0], [0.9, 0.5, 0.1]))
    version = Version(trained.manifest("v1"), drawn, champion=False)

    assert 'points="40.0,40.0 320.0,180.0 600.0,320.0"' in curves([version], [version])


def test_without_models_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(NoModels, match="Materialize fraud_model first"):
        last_versions(tmp_path, 5)


def test_the_command_writes_the_page_and_says_where(place: Place) -> None:
    done = place.run("compare", "-n", "3")

    path = place.var / "reports" / "models.html"
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(path)
    said = manifest_of(place.models, place.manifest.model_version).metrics
    assert f"{said['f1']:.4f}" in path.read_text()


@pytest.mark.parametrize("arguments", [(), ("reproduce",), ("compare", "-n", "0"), ("forget", "v1")])
def test_what_cannot_be_asked_is_refused_with_the_way_it_is_asked(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))

    assert stopped.value.code == 2
    assert "usage: python -m fraud_assets.training" in capsys.readouterr().err
