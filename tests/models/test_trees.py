"""The flat trees against XGBoost itself, and against bytes that are no trees."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.models.trees import BadModel, Row, Trees, sigmoid
from tests.models.made import Trained, train

SMALL = tuple("abcdefghijkl")


def test_scores_equal_xgboosts_to_a_millionth(trained: Trained) -> None:
    """On the rows it was trained on, nulls included, one by one and all at once."""
    trees = Trees.parse(trained.booster_json)

    assert np.abs(trees.score_many(trained.rows) - trained.scores).max() < 1e-6
    assert trees.score_many(trained.rows) == [trees.score(row) for row in trained.rows]
    assert max(abs(trees.score(row) - score) for row, score in zip(trained.rows, trained.scores, strict=True)) < 1e-6


def test_scores_equal_xgboosts_on_thresholds_themselves() -> None:
    """`<` and not `<=`: a value equal to a threshold goes right, in XGBoost as here."""
    import xgboost as xgb

    model = train(SMALL, trees=20)
    trees = Trees.parse(model.booster_json)
    inner = trees.nodes[~np.isnan(trees.nodes["threshold"])]
    values = {f: inner["threshold"][inner["place"] % len(SMALL) == f] for f in range(len(SMALL))}
    rng = np.random.default_rng(1)
    rows = np.array(
        [[rng.choice(values[f]) if len(values[f]) else 0.0 for f in values] for _ in range(500)], np.float32
    )
    booster = xgb.Booster(model_file=bytearray(model.booster_json))

    wanted = booster.predict(xgb.DMatrix(rows, feature_names=list(SMALL)))

    assert np.abs(trees.score_many(rows) - wanted).max() < 1e-6


def test_infinities_and_all_nulls_score_as_in_xgboost() -> None:
    """A request may know nothing; a ratio may overflow float32."""
    import xgboost as xgb

    model = train(SMALL, trees=20)
    rows = np.full((3, len(SMALL)), np.nan, np.float32)
    rows[1], rows[2] = 3e38, -3e38
    booster = xgb.Booster(model_file=bytearray(model.booster_json))

    wanted = booster.predict(xgb.DMatrix(rows, feature_names=list(SMALL)))

    assert np.abs(Trees.parse(model.booster_json).score_many(rows) - wanted).max() < 1e-6


def test_an_estimated_base_score_is_part_of_the_score() -> None:
    """XGBoost 3 estimates it and writes it as a list."""
    model = train(SMALL, trees=1)

    trees = Trees.parse(model.booster_json)

    assert abs(trees.base) > 0.5
    assert np.abs(trees.score_many(model.rows) - model.scores).max() < 1e-6


def test_shares_of_features_add_up_to_the_margin(trained: Trained) -> None:
    """Base, the roots' means and every feature's share: nothing is lost on the way to the leaf."""
    trees = Trees.parse(trained.booster_json)
    start = trees.base + trees.mean[trees.roots].sum()

    scores, shares = trees.score_by_feature(trained.rows[:200])

    assert scores == trees.score_many(trained.rows[:200])
    for score, row in zip(scores, shares, strict=True):
        assert sigmoid(start + row.sum()) == pytest.approx(score, abs=1e-6)


def walked_alone(trees: Trees, x: Row) -> tuple[float, list[float]]:
    """Margin and shares of a row, one tree after the other and step by step."""
    total, shares = np.float32(trees.base), [0.0] * len(x)
    for root in trees.roots.tolist():
        at = root
        while not np.isnan(trees.nodes["threshold"][at]):
            half, feature = divmod(int(trees.nodes["place"][at]), len(x))
            goes_right = half == 1 if np.isnan(x[feature]) else bool(x[feature] >= trees.nodes["threshold"][at])
            below = int(trees.nodes["child"][at]) + goes_right
            shares[feature] += float(trees.mean[below]) - float(trees.mean[at])
            at = below
        total += trees.nodes["weight"][at]
    return float(total), shares


@pytest.mark.parametrize("n_trees", [3, 8, 21])
def test_trees_walked_together_give_the_bits_of_trees_walked_alone(n_trees: int) -> None:
    """Sums of floats depend on their order: whole groups of trees and what is left of one, nulls and infinities. So do rows."""
    model = train(SMALL, trees=n_trees)
    trees = Trees.parse(model.booster_json)
    rows = model.rows[:100].copy()
    rows[1::4] = np.where(np.isnan(rows[1::4]), np.float32(np.inf), rows[1::4])
    rows[2::4, ::3], rows[3::4, ::2] = -np.inf, np.nan

    alone = [walked_alone(trees, row) for row in rows]

    scores, shares = trees.score_by_feature(rows)
    assert scores == trees.score_many(rows) == [sigmoid(margin) for margin, _ in alone]
    assert shares.tolist() == [wanted for _, wanted in alone]
    for row, (margin, wanted) in zip(rows, alone, strict=True):
        assert trees.score(row) == sigmoid(margin)
        one, its = trees.score_by_feature(row[None, :])
        assert (one, its.tolist()) == ([sigmoid(margin)], [wanted])


def test_the_feature_that_decides_has_the_largest_share() -> None:
    """One tree, one split: all of the difference is that feature's."""
    import xgboost as xgb

    rows = np.zeros((100, 3), np.float32)
    rows[:, 1] = np.arange(100)
    matrix = xgb.DMatrix(rows, (rows[:, 1] >= 50).astype(int), feature_names=["a", "b", "c"])
    params = {"objective": "binary:logistic", "max_depth": 1, "base_score": 0.5, "nthread": 1}
    trees = Trees.parse(bytes(xgb.train(params, matrix, 1).save_raw("json")))

    _, (shares,) = trees.score_by_feature(np.array([[0, 90, 0]], np.float32))

    assert shares[1] > 0.1
    assert shares[0] == shares[2] == 0


@given(st.floats(-1e4, 1e4))
def test_sigmoid_is_a_probability_and_symmetric(margin: float) -> None:
    """At either end too, where exp of the wrong sign would overflow."""
    assert 0.0 <= sigmoid(margin) <= 1.0
    assert sigmoid(margin) + sigmoid(-margin) == pytest.approx(1.0)


def broken(path: str, value: object) -> bytes:
    """The small model with one place of its JSON replaced."""
    document = msgspec.json.decode(train(SMALL, trees=2, n=300).booster_json)
    at = document
    *steps, last = path.split("/")
    for step in steps:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[int(last) if isinstance(at, list) else last] = value
    return msgspec.json.encode(document)


TREE = "learner/gradient_booster/model/trees/0"


def test_a_row_of_another_width_is_refused(trained: Trained) -> None:
    """Kernels look at no index."""
    trees = Trees.parse(trained.booster_json)
    rows = np.zeros((2, trained.rows.shape[1] + 1), np.float32)
    wrong = (lambda: trees.score(rows[0]), lambda: trees.score_many(rows[:, :-2]), lambda: trees.score_by_feature(rows))
    for score in wrong:
        with pytest.raises(ValueError, match="features; the model was trained on"):
            score()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (f"{TREE}/left_children/1", 0, "two parents"),
        (f"{TREE}/left_children/0", 2, "two parents"),
        (f"{TREE}/left_children/0", 10_000, "children"),
        (f"{TREE}/left_children/0", -1, "children"),
        (f"{TREE}/left_children/0", -2, "not XGBoost's JSON"),
        (f"{TREE}/left_children", [], "different lengths"),
        (f"{TREE}/right_children", [], "different lengths"),
        (f"{TREE}/split_indices/0", 12, "splits feature 12"),
        (f"{TREE}/split_indices/0", -1, "not XGBoost's JSON"),
        (f"{TREE}/split_conditions/0", None, "not XGBoost's JSON"),
        (f"{TREE}/split_conditions/0", 1e39, "holds 1e[+]39"),
        (f"{TREE}/split_type/0", 1, "categorical"),
        ("learner/objective/name", "reg:squarederror", "binary:logistic"),
        ("learner/gradient_booster/name", "dart", "gbtree"),
        ("learner/feature_names", ["a"], "feature_names"),
        ("learner/learner_model_param/base_score", "[x]", "base_score"),
        ("learner/learner_model_param/base_score", "1", "base_score"),
        ("learner/learner_model_param/num_class", "3", "binary:logistic"),
        ("learner/gradient_booster/model/gbtree_model_param/num_trees", "7", "announced 7"),
    ],
)
def test_what_is_not_a_forest_is_refused_by_name(path: str, value: object, says: str) -> None:
    """Instead of looping, reading past an array's end or scoring with a default."""
    with pytest.raises(BadModel, match=says):
        Trees.parse(broken(path, value))


@pytest.mark.parametrize("raw", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"learner": null}', b"\x80\x04K\x01."])
def test_bytes_that_are_no_document_are_refused(raw: bytes) -> None:
    """Also a pickle, which is what these bytes must never be taken for."""
    with pytest.raises(BadModel):
        Trees.parse(raw)
