"""Explanations are XGBoost's exact values, add up to what was logged, and are the same however they are batched."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fraud_assets.contracts.events import Explanation
from fraud_assets.models.artifact import write_artifact
from fraud_assets.models.manifest import RefusedModel, sha256
from fraud_assets.models.trees import sigmoid
from streaming.core.explain import TOP_FEATURES, Unexplained, adds_up, explain
from streaming.core.records import Refusal
from streaming.edges.boosters import KEPT, Booster, Boosters, ModelName
from tests.models.made import Trained, train
from tests.streaming.decided import before, decisions

N = 24


@pytest.fixture(scope="module")
def booster(trained: Trained) -> Booster:
    return Booster(trained.booster_json)


def explained(outcomes: list[Explanation | Unexplained]) -> list[Explanation]:
    assert all(isinstance(one, Explanation) for one in outcomes), outcomes
    return [one for one in outcomes if isinstance(one, Explanation)]


def test_contributions_are_those_of_xgboost(trained: Trained, booster: Booster) -> None:
    """Asked directly, of a booster loaded for this test."""
    import xgboost as xgb

    matrix = xgb.DMatrix(trained.rows[:N], feature_names=list(trained.names))
    wanted = xgb.Booster(model_file=bytearray(trained.booster_json)).predict(matrix, pred_contribs=True)

    found = explained(explain(booster, decisions(trained.booster_json, trained.rows[:N])))

    assert np.array_equal(np.array([one.contributions for one in found], np.float32), wanted[:, :-1])
    assert np.array_equal(np.array([one.base_value for one in found], np.float32), wanted[:, -1])


def test_contributions_and_base_value_add_up_to_the_logged_score(trained: Trained, booster: Booster) -> None:
    made = decisions(trained.booster_json, trained.rows[:N])

    for decision, one in zip(made, explained(explain(booster, made)), strict=True):
        assert abs(sigmoid(one.base_value + math.fsum(one.contributions)) - decision.fraud_score) <= 1e-5
        assert abs(one.margin - (one.base_value + math.fsum(one.contributions))) < 1e-9


def conjunction() -> bytes:
    """A model of one tree over a and b: log odds 1 where both are 1, else 0; each leaf saw a quarter of the rows."""
    document: dict[str, Any] = msgspec.json.decode(train(("a", "b"), trees=1, depth=2, n=200).booster_json)
    learner = document["learner"]
    learner["learner_model_param"]["base_score"] = "5E-1"
    (tree,) = learner["gradient_booster"]["model"]["trees"]
    assert tree["left_children"] == [1, 3, 5, -1, -1, -1, -1], "a tree of seven nodes"
    tree["split_indices"] = [0, 1, 1, 0, 0, 0, 0]
    tree["split_conditions"] = [0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 1.0]
    tree["base_weights"] = [0.25, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0]
    tree["sum_hessian"] = [4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    return msgspec.json.encode(document)


@pytest.mark.parametrize(
    ("row", "a", "b"),
    [
        # Worth of what is known: nothing 1/4, a alone 1/2, b alone 1/2, both 1. Each gets the mean of its two gains.
        ((1, 1), 0.375, 0.375),
        # Nothing 1/4, a = 1 alone 1/2, b = 0 alone 0, both 0.
        ((1, 0), 0.125, -0.375),
        ((0, 1), -0.375, 0.125),
        ((0, 0), -0.125, -0.125),
    ],
)
def test_values_of_a_small_tree_are_those_worked_out_by_hand(row: tuple[int, int], a: float, b: float) -> None:
    """Shapley's, not the path's differences, which would give the first split of (1, 0) a quarter, not an eighth."""
    model = conjunction()

    (one,) = explained(explain(Booster(model), decisions(model, np.array([row]))))

    assert one.base_value == pytest.approx(0.25, abs=1e-7)
    assert one.contributions == pytest.approx([a, b], abs=1e-7)
    assert one.margin == pytest.approx(float(row == (1, 1)), abs=1e-6)


def test_a_decision_is_explained_the_same_whatever_it_is_batched_with(trained: Trained, booster: Booster) -> None:
    made = decisions(trained.booster_json, trained.rows[:N])

    together, alone = explain(booster, made), [explain(booster, [one])[0] for one in made]

    assert [msgspec.json.encode(one) for one in together] == [msgspec.json.encode(one) for one in alone]


def test_top_features_are_the_largest_by_name_largest_first(trained: Trained, booster: Booster) -> None:
    (one,) = explained(explain(booster, decisions(trained.booster_json, trained.rows[:1])))

    by_name = dict(zip(trained.names, one.contributions, strict=True))
    assert list(one.top_features.items()) == sorted(by_name.items(), key=lambda pair: -abs(pair[1]))[:TOP_FEATURES]


@pytest.mark.parametrize("moved", [2e-5, -2e-5])
def test_a_score_that_the_model_does_not_give_is_refused(trained: Trained, booster: Booster, moved: float) -> None:
    (right, wrong) = decisions(trained.booster_json, trained.rows[:2])
    wrong = msgspec.structs.replace(wrong, fraud_score=wrong.fraud_score + moved)

    first, second = explain(booster, [right, wrong])

    assert isinstance(first, Explanation)
    assert isinstance(second, Unexplained)
    assert second.reason == Refusal.OTHER_SCORE


def test_a_small_score_hides_no_other_margin() -> None:
    """As probabilities these differ by 4e-7; as log odds by 0.01."""
    score = sigmoid(-10.0)

    assert adds_up(-10.0, 12.0, score)
    assert not adds_up(-10.01, 12.0, score)


def test_a_score_that_float64_rounds_to_certainty_can_be_explained() -> None:
    assert adds_up(40.0, 40.0, sigmoid(40.0))
    assert adds_up(33.0, 33.0, sigmoid(33.0))
    assert not adds_up(5.0, 5.0, 1.0)
    assert not adds_up(math.nan, 1.0, 0.5)


def test_a_decision_is_explained_the_same_whichever_way_its_vector_is_said(trained: Trained, booster: Booster) -> None:
    made = decisions(trained.booster_json, trained.rows[:N])

    assert explain(booster, list(map(before, made))) == explain(booster, made)


WIDTH = 384
BAD: list[tuple[str, dict[str, Any]]] = [
    ("1 numbers", {"features": [1.0]}),
    ("an infinite number", {"features": [1e300, *[0.0] * (WIDTH - 1)]}),
    ("0 numbers", {"vector": b""}),
    ("1 numbers", {"vector": bytes(4)}),
    ("385 numbers", {"vector": bytes(4 * (WIDTH + 1))}),
    ("1535 bytes are no float32 numbers", {"vector": bytes(4 * WIDTH - 1)}),
    ("an infinite number", {"vector": np.full(WIDTH, -np.inf, "<f4").tobytes()}),
    ("must be given, and not both", {}),
    ("must be given, and not both", {"features": [0.0] * WIDTH, "vector": bytes(4 * WIDTH)}),
]


@pytest.mark.parametrize(("says", "bad"), BAD)
def test_what_is_no_vector_of_the_model_is_refused_and_its_neighbours_are_not(
    trained: Trained, booster: Booster, says: str, bad: dict[str, Any]
) -> None:
    assert len(trained.names) == WIDTH
    made = decisions(trained.booster_json, trained.rows[:3])
    made[1] = msgspec.structs.replace(made[1], **{"features": [], "vector": None, **bad})

    first, second, third = explain(booster, made)

    assert isinstance(second, Unexplained)
    assert second.reason == Refusal.OTHER_VECTOR
    assert says in second.detail
    assert isinstance(first, Explanation)
    assert isinstance(third, Explanation)


def name_of(made: Trained, version: str = "v1") -> ModelName:
    return ModelName(version, sha256(made.booster_json))


def test_an_earlier_version_is_still_found(model_dir: Path, trained: Trained) -> None:
    """Nothing is asked of the champion: the decision says which model made it."""
    later = train(trained.names, trees=3)
    write_artifact(model_dir / "v2", later.booster_json, later.manifest("v2"))
    models = Boosters(model_dir)

    for version, made in (("v2", later), ("v1", trained)):
        matrix = made.rows[:2]
        (one, _) = explained(explain(models.get(name_of(made, version)), decisions(made.booster_json, matrix, version)))
        assert one.model_version == version


@pytest.mark.parametrize(
    ("version", "reason"),
    [("v9", "unreadable"), ("../v1", "bad_version"), ("v1/../v1", "bad_version"), ("", "bad_version")],
)
def test_a_version_that_is_not_there_is_refused(model_dir: Path, trained: Trained, version: str, reason: str) -> None:
    """Whoever writes to the log names a folder, so it must be one."""
    with pytest.raises(RefusedModel) as refused:
        Boosters(model_dir).get(name_of(trained, version))

    assert refused.value.reason == reason


def test_bytes_that_are_not_those_that_decided_are_never_parsed(model_dir: Path, trained: Trained) -> None:
    """One flipped bit of the file, or a hash that the decision does not have."""
    with pytest.raises(RefusedModel, match="hash_mismatch"):
        Boosters(model_dir).get(ModelName("v1", "0" * 64))
    changed = bytearray(trained.booster_json)
    changed[len(changed) // 2] ^= 1
    (model_dir / "v1" / "model.json").write_bytes(changed)

    with pytest.raises(RefusedModel, match="hash_mismatch"):
        Boosters(model_dir).get(name_of(trained))


def test_bytes_that_are_no_forest_are_refused_before_xgboost_sees_them(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "model.json").write_bytes(b"{}")

    with pytest.raises(RefusedModel, match="not_a_model"):
        Boosters(tmp_path).get(ModelName("v1", sha256(b"{}")))


def test_only_the_last_models_stay_parsed(tmp_path: Path) -> None:
    models, names = Boosters(tmp_path), []
    for number in range(KEPT + 1):
        made = train(("a", "b"), trees=number + 1, depth=1, n=50)
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "model.json").write_bytes(made.booster_json)
        names.append(name_of(made, f"v{number}"))
    first = models.get(names[0])
    assert models.get(names[0]) is first

    for name in names[1:]:
        models.get(name)

    assert models.get(names[0]) is not first
