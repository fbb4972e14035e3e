"""Label propagation in training: what a row counts, from when it is known, and that a model of it is made again to the byte."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.confidence import confidence_as_of, confidences_as_of
from fraud_assets.labels.graph import identity_edges, transactions_as_known
from fraud_assets.labels.shapes import CONFIDENCE
from fraud_assets.models.manifest import Manifest
from fraud_assets.stores.keyed_tables import of_day, put_table
from fraud_assets.stores.lake import Lake
from fraud_assets.training import store
from fraud_assets.training.dataset import TrainingSet, table_schema, training_set, window_as_of
from fraud_assets.training.fit import fit, thinned
from fraud_assets.training.recipe import read_recipe
from fraud_assets.training.reproduce import NotKept, reproduce
from fraud_assets.training.run import train
from fraud_assets.training.tune import Budget
from fraud_assets.training.weights import NoConfidences, propagation_weights
from tests.history import DAYS, LABEL_DELAY_DAYS, START_MS, Past
from tests.labels.payments import CAPS
from tests.training.toy import halves, toy

AS_OF = "2026-10-13"
AS_OF_MS = START_MS + (DAYS - 2) * DAY_MS
WINDOW = window_as_of(AS_OF_MS, 90, LABEL_DELAY_DAYS)


def weighed(lake: Lake, past: Past, labels_root: Path) -> TrainingSet:
    """The confidences of the day, made from this lake, and the set of the same day."""
    edges = identity_edges(transactions_as_known(lake, AS_OF_MS, 30))
    found = confidence_as_of(lake, edges, AS_OF_MS, 30, CAPS)
    put_table(str(labels_root), CONFIDENCE.table, of_day(AS_OF), found.rows)
    return training_set(lake, past.service, WINDOW, weigh=propagation_weights(str(labels_root), AS_OF))


@dataclass(frozen=True)
class Made:
    """labels: where the confidences are. model: of the set, as a training makes it."""

    folder: Path
    found: TrainingSet
    manifest: Manifest

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def training(self) -> str:
        return str(self.folder / "training")


@pytest.fixture(scope="module")
def made(past: Past, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("weighed")
    found = weighed(past.lake, past, folder / "labels")
    store.save(str(folder / "training"), AS_OF, found)
    trained = train(found, past.service, folder / "models", AS_OF, LABEL_DELAY_DAYS, Budget(0))
    return Made(folder, found, trained.manifest)


def weight_of(found: TrainingSet) -> np.ndarray:
    assert found.weight is not None
    return found.weight


def test_a_fraud_counts_whole_and_a_legitimate_row_less_what_speaks_against_it(made: Made) -> None:
    ids = [made.found.rows[name].to_pylist() for name in ("account_id", "transaction_id")]
    confidence = confidences_as_of(str(made.folder / "labels"), AS_OF, *ids)
    weight = weight_of(made.found)

    linked = (confidence > 0) & ~made.found.is_fraud
    assert linked.sum() > 20
    np.testing.assert_array_equal(weight[made.found.is_fraud], 1)
    np.testing.assert_allclose(weight[linked], 1 - confidence[linked], rtol=1e-6)
    np.testing.assert_array_equal(weight[~linked], 1)


def test_weights_change_no_row_label_or_feature_and_the_digest_covers_them(past: Past, made: Made) -> None:
    plain = training_set(past.lake, past.service, WINDOW)

    assert made.found.rows.equals(plain.rows)
    np.testing.assert_array_equal(made.found.is_fraud, plain.is_fraud)
    np.testing.assert_array_equal(made.found.features, plain.features)
    assert plain.weight is None
    assert made.found.digest != plain.digest
    assert replace(made.found, weight=None).digest == plain.digest
    one_less = weight_of(made.found).copy()
    one_less[0] *= 0.5
    assert replace(made.found, weight=one_less).digest != made.found.digest


def test_what_arrived_later_changes_no_weight(past: Past, made: Made, tmp_path: Path) -> None:
    """Every payment is called fraud after the as-of day: made again as of it, the set is the same to the bit."""
    lake = Lake(tmp_path / "lake")
    for table in ("transactions", "activity", "profiles", "labels", "label_facts"):
        lake.append(table, past.lake.scan(table), "known")
    facts = lake.scan("label_facts")
    later = {
        "ingested_at_ms": pa.array([AS_OF_MS] * len(facts)),
        "is_fraud": pa.array([True] * len(facts)),
        "source_topic": pa.array(["later.v1"] * len(facts)),
        "fact_id": pc.binary_join_element_wise("later", facts["fact_id"], "-"),
    }
    for name, column in later.items():
        facts = facts.set_column(facts.schema.names.index(name), facts.schema.field(name), column)
    lake.append("label_facts", facts, "later")

    again = weighed(lake, past, tmp_path / "labels")

    assert lake.scan("label_facts").num_rows == 2 * len(facts)
    assert again.digest == made.found.digest


def test_a_set_keeps_its_weights_in_its_file_and_one_without_has_no_column(
    past: Past, made: Made, tmp_path: Path
) -> None:
    store.save(str(tmp_path), AS_OF, replace(made.found, weight=None))

    loaded = store.load(made.training, AS_OF)
    foretold = table_schema(past.service.names, past.lake.schema("transactions"), weighted=True)

    np.testing.assert_array_equal(weight_of(loaded), weight_of(made.found))
    assert loaded.digest == store.digest(made.training, AS_OF) == made.found.digest
    assert store.schema(made.training, AS_OF).names == foretold.names
    assert store.load(str(tmp_path), AS_OF).weight is None
    assert "row_weight" not in store.schema(str(tmp_path), AS_OF).names


def test_a_day_without_confidences_is_refused_with_the_way_out(past: Past, tmp_path: Path) -> None:
    with pytest.raises(NoConfidences, match=r"Materialize identity_graph and label_confidence of that day first"):
        training_set(past.lake, past.service, WINDOW, weigh=propagation_weights(str(tmp_path), AS_OF))


def test_a_model_of_weighed_rows_is_made_again_to_the_last_byte(made: Made) -> None:
    recipe = read_recipe(made.models, made.manifest)

    found = reproduce(made.models, made.training, made.manifest.model_version)

    assert recipe is not None and recipe.propagation_weights
    assert found.same


def test_a_set_without_its_weights_is_not_the_one_that_the_model_was_made_of(made: Made, tmp_path: Path) -> None:
    store.save(str(tmp_path), AS_OF, replace(made.found, weight=None))

    with pytest.raises(NotKept, match="no training set under"):
        reproduce(made.models, str(tmp_path), made.manifest.model_version)


def test_a_kept_row_counts_its_weight_for_each_row_it_stands_for() -> None:
    is_fraud = np.arange(1_000) % 100 == 0
    weight = np.where(np.arange(1_000) % 2, 0.5, 1.0).astype(np.float32)

    plain = thinned(np.arange(1_000), is_fraud, seed=1, per_fraud=10)
    sample = thinned(np.arange(1_000), is_fraud, seed=1, per_fraud=10, weight=weight)

    np.testing.assert_array_equal(sample.rows, plain.rows)
    np.testing.assert_array_equal(sample.weight, plain.weight * weight[plain.rows])
    assert sample.weight.max() == pytest.approx(9.9)


def test_rows_that_all_count_one_give_the_bytes_of_a_set_without_weights() -> None:
    features, is_fraud, amount, split = toy()
    ones = np.ones(len(is_fraud), np.float32)

    models = [
        fit(features, is_fraud, amount, split, ["a", "b"], folds=halves(), weight=weight, budget=Budget(0))
        for weight in (None, ones)
    ]

    assert models[0].model_json() == models[1].model_json()


def test_a_row_that_counts_nothing_teaches_nothing_and_is_still_measured() -> None:
    """Half of the frauds are called legitimate. At weight 0 their scores rise to those of frauds; measures count their hard labels."""
    features, is_fraud, amount, split = toy()
    called_legitimate = is_fraud & (np.arange(len(is_fraud)) % 2 == 0)
    labels = is_fraud & ~called_legitimate
    weight = np.where(called_legitimate, 0, 1).astype(np.float32)

    taught, spared = (
        fit(features, labels, amount, split, ["a", "b"], folds=halves(), weight=given, budget=Budget(0))
        for given in (None, weight)
    )

    assert spared.unseen_scores[called_legitimate].mean() > taught.unseen_scores[called_legitimate].mean() + 0.1
    counted = ("validate_rows", "validate_frauds", "prior", "threshold_frauds")
    assert [spared.metrics[name] for name in counted] == [taught.metrics[name] for name in counted]
    assert spared.metrics["threshold_frauds"] == labels.sum()
