"""Candidate and champion on the same rows: each by scores of rows it had not learnt from, or not at all."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraud_assets.models.artifact import publish_champion, write_artifact
from fraud_assets.models.manifest import MODEL_FILE, Thresholds
from fraud_assets.training.compare import Comparison, NotCompared, compare
from fraud_assets.training.evaluation import Confusion
from fraud_assets.training.holdout import Holdout, load_holdout, save_holdout, unseen_scores
from fraud_assets.training.recipe import RECIPE_FILE, Recipe
from fraud_assets.training.threshold import CostTable
from tests.models.made import Trained

ROWS, FRAUDS = 200, 50
WINDOW_END_MS = 100
COSTS = CostTable(chargeback_fee_minor=0, false_decline_minor=7, review_minor=1)


def recipe(to_ms: int = WINDOW_END_MS) -> bytes:
    return msgspec.json.encode(
        Recipe(
            as_of="2026-10-15", from_ms=0, to_ms=to_ms, label_delay_days=7, params={}, rounds=1, seed=7, per_fraud=40,
            costs=COSTS, libraries={},
        )
    )  # fmt: skip


def holdout(trained: Trained, score: np.ndarray, first: int = 0) -> Holdout:
    """Row i is at time i, so that the first hundred lie in the champion's window; every fourth is fraud."""
    at = np.arange(first, first + ROWS)
    fraud = at % 4 == 0
    slices = {"all": np.ones(ROWS, bool), "even": at % 8 == 0}
    return Holdout(
        trained.names, [f"a\x00t{i}" for i in at], at, fraud, np.full(ROWS, 100.0), score.astype(np.float32), slices,
        trained.rows[at],
    )  # fmt: skip


class Place:
    """A model folder with the champion v1, the candidate v2 and holdouts of both."""

    def __init__(self, folder: Path, trained: Trained) -> None:
        self.models, self.root, self.trained = folder / "models", str(folder / "training"), trained

    def model(self, version: str, beside: dict[str, bytes] | None = None, **changes: object) -> None:
        manifest = self.trained.manifest(version, **{"thresholds": Thresholds(review=0.4, deny=0.5), **changes})
        beside = {RECIPE_FILE: recipe()} if beside is None else beside
        write_artifact(self.models / version, self.trained.booster_json, manifest, beside)

    def compare(self) -> Comparison:
        return compare(self.models, self.root, "v2")


@pytest.fixture
def place(tmp_path: Path, trained: Trained) -> Place:
    found = Place(tmp_path, trained)
    found.model("v1")
    found.model("v2", {RECIPE_FILE: recipe(to_ms=500)})
    publish_champion(found.models, "v1")
    save_holdout(found.root, "v2", holdout(trained, np.full(ROWS, 0.9)))
    return found


def test_the_champion_scores_what_is_newer_than_its_window_and_nothing_else(place: Place, trained: Trained) -> None:
    """Of the older rows it has learnt, and no score of before is kept: they are left out for both."""
    own = trained.scores[100:ROWS]
    fraud = np.arange(100, ROWS) % 4 == 0

    found = place.compare()

    assert (found.rows, found.frauds, found.left_out) == (100, 25, 100)
    assert found.champion.slices["all"] == Confusion.at(0.5, own, fraud)
    assert found.candidate.slices["all"] == Confusion(25, 75, 0, 0)  # .9 everywhere
    assert found.candidate.slices["even"].frauds == found.champion.slices["even"].frauds == 12


def test_what_the_champion_has_learnt_counts_with_the_score_it_got_as_a_candidate(
    place: Place, trained: Trained
) -> None:
    """Of the newer rows it says itself what it thinks, whatever was kept."""
    mine = holdout(trained, np.where(np.arange(ROWS) % 2 == 0, 0.8, 0.1))
    save_holdout(place.root, "v1", mine)
    fraud = np.arange(ROWS) % 4 == 0
    expected = np.concatenate([np.where(np.arange(100) % 2 == 0, 0.8, 0.1), trained.scores[100:ROWS]])

    found = place.compare()

    assert (found.rows, found.frauds, found.left_out) == (ROWS, FRAUDS, 0)
    assert found.champion.slices["all"] == Confusion.at(0.5, expected, fraud)


def test_costs_are_of_the_candidates_table_by_hand(place: Place) -> None:
    """It denies all hundred rows: 75 good customers at 7 each."""
    assert place.compare().candidate.cost_minor == 75 * 7


def test_each_is_judged_at_its_own_threshold(place: Place) -> None:
    place.model("v3", {RECIPE_FILE: recipe(500)}, thresholds=Thresholds(review=0.95, deny=0.95))
    save_holdout(place.root, "v3", load_holdout(place.root, "v2"))

    found = compare(place.models, place.root, "v3")

    assert found.candidate.recall == 0.0  # .9 is below its threshold
    assert found.champion.slices == place.compare().champion.slices


def test_a_candidate_whose_holdout_is_gone_cannot_be_judged(place: Place) -> None:
    place.model("v3")

    with pytest.raises(FileNotFoundError, match="model=v3"):
        compare(place.models, place.root, "v3")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda place: (place.models / "champion").unlink(), "there is no champion yet"),
        (lambda place: publish_champion(place.models, "v2"), "the candidate is the champion"),
        (lambda place: (place.models / "v1" / MODEL_FILE).write_bytes(b"{}"), "champion cannot be read: .*hash_mismatch"),
        (lambda place: _champion(place, service_digest="2" * 64), "reads features 222222222222, the candidate"),
        (lambda place: _champion(place, beside={}), "v9 does not say what it had learnt from"),
        (lambda place: _champion(place, beside={RECIPE_FILE: recipe(to_ms=125)}), "75 of the holdout's 200 rows, with 18 frauds"),
    ],
    ids=["none", "itself", "damaged", "other features", "no recipe", "few frauds"],
)  # fmt: skip
def test_without_a_comparison_it_is_said_why(place: Place, spoil: object, why: str) -> None:
    assert callable(spoil)
    spoil(place)

    with pytest.raises(NotCompared, match=why):
        place.compare()


def _champion(place: Place, beside: dict[str, bytes] | None = None, **changes: object) -> None:
    place.model("v9", beside, **changes)
    publish_champion(place.models, "v9")


def test_a_holdout_survives_its_file(tmp_path: Path, trained: Trained) -> None:
    """Nulls of a vector and bits of a score among it."""
    made = holdout(trained, trained.scores[:ROWS])

    save_holdout(str(tmp_path), "v1", made)
    found = load_holdout(str(tmp_path), "v1")

    assert found.names == made.names and list(found.ids) == list(made.ids)
    assert found.features.tobytes() == made.features.tobytes()
    for name in ("event_time_ms", "is_fraud", "euro_cents", "score"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
    assert {name: member.tolist() for name, member in found.slices.items()} == {
        name: member.tolist() for name, member in made.slices.items()
    }
    assert unseen_scores(str(tmp_path), "v1") == dict(zip(made.ids, made.score.tolist(), strict=True))
    assert unseen_scores(str(tmp_path), "v2") == {}
