"""A code means tomorrow, and of any model, what it means today: clients and their lawyers store them.

`recorded/` says what each has meant since it was given. Lines are added for new features and codes; none is changed or removed,
also not of a feature that no longer is served: decisions made with it have its code.
"""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.manifest import MODEL_FILE, sha256
from fraud_assets.models.served import ServedModel
from fraud_assets.policy.reasons import LEAST_SHARE, MAX_REASONS, TEXTS, Attribution, ReasonCode, family_of
from tests.models.made import train

RECORDED = Path(__file__).parent / "recorded"
CODE_OF: dict[str, str] = msgspec.json.decode((RECORDED / "code_of_feature.json").read_bytes())
TEXT_OF: dict[str, str] = msgspec.json.decode((RECORDED / "text_of_code.json").read_bytes())
NAMES = registry().feature_names(FRAUD_SCORING)


def test_every_feature_has_the_code_it_was_given() -> None:
    assert {name: family_of(name).value for name in CODE_OF} == CODE_OF


def test_every_code_says_what_it_said() -> None:
    """A sentence that is put otherwise without meaning otherwise is recorded anew, by a person who has read both."""
    assert {code.value: text for code, text in TEXTS.items()} == TEXT_OF


def test_what_is_served_is_recorded() -> None:
    """Else the first retrain that uses a new feature would give it a code that nobody has seen."""
    assert set(NAMES) <= set(CODE_OF)


def top(shares: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """The reasons of one row as the recorded meanings have them: families by the sum of their features, strongest first."""
    totals = dict.fromkeys((code.value for code in ReasonCode), 0.0)
    for name, share in zip(names, shares.tolist(), strict=True):
        totals[CODE_OF[name]] += share
    strong = sorted((-total, place, code) for place, (code, total) in enumerate(totals.items()) if total >= LEAST_SHARE)
    return [code for _, _, code in strong[:MAX_REASONS]]


def model(seed: int, names: tuple[str, ...]) -> tuple[ServedModel, np.ndarray]:
    """A retrain, with rows it knows."""
    trained = train(names, seed=seed)
    manifest = msgspec.structs.replace(trained.manifest(f"v{seed}"), files={MODEL_FILE: sha256(trained.booster_json)})
    return ServedModel.build(manifest, trained.booster_json), trained.rows[:200]


@pytest.mark.parametrize("order", ["as declared", "reversed"])
def test_two_models_mean_the_same_by_a_code(order: str) -> None:
    """Trained on other rows, and with their features at other places: what each says of a payment are the recorded families of what moved its score."""
    names = NAMES if order == "as declared" else NAMES[::-1]
    said: list[set[str]] = []
    for seed in (0, 1):
        served, rows = model(seed, names)
        attribution = Attribution(served.trees.feature_names)
        shares = served.explain(rows)[1]
        reasons = [attribution.top(of_one) for of_one in shares]
        assert reasons == [top(of_one, names) for of_one in shares]
        said.append({code for codes in reasons for code in codes})

    assert len(set.intersection(*said)) > 1  # else nothing was compared


def test_a_reason_is_the_feature_that_moved_the_score_whichever_model_says_it() -> None:
    """One feature at a time, each with its own code."""
    attribution = Attribution(NAMES)
    for place, name in enumerate(NAMES):
        shares = np.zeros(len(NAMES))
        shares[place] = LEAST_SHARE
        assert attribution.top(shares) == [CODE_OF[name]]
