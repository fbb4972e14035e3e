"""Champion and challenger in one scorer: who decides, who only scores, and what a challenger can break, which is nothing."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from api.judge import Lineup, Payments, Serving
from fraud_assets.contracts.events import Decision
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import champion_of, load_champion, publish_champion, write_artifact
from fraud_assets.models.manifest import MODEL_FILE, Definitions
from fraud_assets.models.trees import Trees
from fraud_assets.policy.policy import DEFAULT_POLICY
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import (
    Archive,
    Arm,
    BeginAB,
    BeginShadow,
    Phase,
    Rollback,
    Rollout,
    Step,
    ToCanary,
    ToFull,
    arm,
)
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.served import served_vector
from tests.api.world import Producer, request, runtime, served, until
from tests.models.made import Trained, train

PAYMENTS = 200
SAID: dict[str, Any] = {"who": "test", "why": "test", "evidence": {"seen": 1}}


class Rig:
    """A scorer over a model folder with `v1`, its champion, and `v2`; and the log that moves both."""

    def __init__(self, models: Path, client: TestClient[Litestar], producer: Producer) -> None:
        self.models, self.client, self.producer = models, client, producer
        self.log = PromotionLog(models)

    def move(self, step: type[Step], **given: Any) -> Rollout:
        """Take a step, and return when the scorer has."""
        seen = self.log.settle(now_ms())
        moved = self.log.move(seen, step(at_ms=now_ms(), **SAID, **given))
        until(lambda: self.info()["rollout_sequence"] == moved.sequence)
        if moved.challenger is not None:  # it joins when it is verified
            until(lambda: self.info()["challenger_version"] or self.info()["challenger_refused"])
        return moved

    def info(self) -> dict[str, Any]:
        return dict(self.client.get("/admin/model").json())

    def decide(self, n: int = PAYMENTS) -> list[Decision]:
        """The events of so many payments, each of another account, answered as their events say."""
        self.producer.reset()
        batch = {"transactions": [request(transaction_id=f"t{i}", account_id=f"a{i}") for i in range(n)]}
        answers = self.client.post("/predict", json=batch).json()["decisions"]
        until(lambda: len(self.producer.decisions()) == n)
        made = self.producer.decisions()
        assert [(one["model_version"], one["fraud_score"]) for one in answers] == [
            (one.model_version, one.fraud_score) for one in made
        ]
        return made


def payments(n: int) -> Payments:
    """Of so many accounts."""
    return Payments([f"a{i}" for i in range(n)], [100] * n, [False] * n)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def other(trained: Trained) -> Trained:
    return train(trained.names, seed=1)


@pytest.fixture
def rig(tmp_path: Path, trained: Trained, other: Trained, valkey_server: str, store: OnlineStore) -> Iterator[Rig]:
    models = tmp_path / "models"
    for version, one in (("v1", trained), ("v2", other)):
        write_artifact(models / version, one.booster_json, one.manifest(version))
    publish_champion(models, "v1")
    producer = Producer()
    with served(runtime(models, valkey_server, producer)) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield Rig(models, client, producer)


def score_of(trained: Trained, decision: Decision) -> float:
    """What a version's own trees make of the vector that was served."""
    return Trees.parse(trained.booster_json).score(served_vector(decision))


def test_in_shadow_every_payment_is_scored_by_both_and_decided_by_the_champion(
    rig: Rig, trained: Trained, other: Trained
) -> None:
    rig.move(BeginShadow, challenger=champion_of(rig.models, "v2"))

    made = rig.decide()

    assert Counter(one.model_version for one in made) == {"v1": PAYMENTS}
    assert [one.fraud_score for one in made] == [score_of(trained, one) for one in made]
    assert [one.shadow_scores for one in made] == [{"v2": score_of(other, one)} for one in made]
    assert rig.info()["challenger_version"] == "v2"
    assert all(set(one.scored_ms) == {"v1", "v2"} and min(one.scored_ms.values()) > 0 for one in made)


@pytest.mark.parametrize(("steps", "share"), [((BeginShadow, ToCanary), 0.25), ((BeginAB,), 0.5)])
def test_a_challenger_decides_for_its_accounts_and_the_champion_for_all_others(
    rig: Rig, trained: Trained, other: Trained, steps: tuple[type[Step], ...], share: float
) -> None:
    """Each by its own score and its own thresholds, and each decision says what the other would have scored."""
    for step in steps:
        given: dict[str, Any] = {} if step is ToCanary else {"challenger": champion_of(rig.models, "v2")}
        rollout = rig.move(step, **given, **({} if step is BeginShadow else {"share": share}))

    made = rig.decide()

    by = {Arm.CHAMPION: ("v1", trained, "v2", other), Arm.CHALLENGER: ("v2", other, "v1", trained)}
    for one in made:
        version, decides, watches, shadow = by[arm(rollout, one.account_id)]
        assert (one.model_version, one.fraud_score) == (version, score_of(decides, one))
        assert one.shadow_scores == {watches: score_of(shadow, one)}
    assert abs(sum(one.model_version == "v2" for one in made) / PAYMENTS - share) < 0.12


def test_full_and_rollback_take_effect_without_a_failed_request_or_a_restart(rig: Rig) -> None:
    rig.move(BeginShadow, challenger=champion_of(rig.models, "v2"))
    rig.move(ToCanary)
    rig.move(ToFull)
    assert {(one.model_version, *one.shadow_scores) for one in rig.decide(20)} == {("v2", "v1")}

    asked = time.monotonic()
    rig.move(Rollback)

    assert time.monotonic() - asked < 10
    assert {(one.model_version, len(one.shadow_scores)) for one in rig.decide(20)} == {("v1", 0)}
    assert rig.info()["rollout_phase"] == Phase.REVERTED
    assert not any(one.scored_ms for one in rig.decide(5))


def test_the_champion_before_scores_beside_a_new_one_until_its_books_are_closed(
    rig: Rig, trained: Trained, other: Trained
) -> None:
    """Also after a restart, when it was not loaded as a champion."""
    rig.move(BeginShadow, challenger=champion_of(rig.models, "v2"))
    rig.move(ToCanary)
    rig.move(ToFull)

    watched = rig.decide(20)
    rig.move(Archive)
    closed = rig.decide(20)

    for one in watched:
        assert (one.model_version, one.fraud_score) == ("v2", score_of(other, one))
        assert one.shadow_scores == {"v1": score_of(trained, one)}
    assert {(one.model_version, len(one.shadow_scores)) for one in closed} == {("v2", 0)}


def test_a_scorer_that_starts_while_a_new_champion_is_watched_loads_the_one_before_too(
    tmp_path: Path, trained: Trained, other: Trained, valkey_server: str, store: OnlineStore
) -> None:
    for version, one in (("v1", trained), ("v2", other)):
        write_artifact(tmp_path / version, one.booster_json, one.manifest(version))
    publish_champion(tmp_path, "v1")
    log = PromotionLog(tmp_path)
    for step, given in ((BeginShadow, {"challenger": champion_of(tmp_path, "v2")}), (ToCanary, {}), (ToFull, {})):
        log.move(log.settle(now_ms()), step(at_ms=now_ms(), **SAID, **given))  # type: ignore[arg-type]

    with served(runtime(tmp_path, valkey_server, Producer())) as client:
        until(lambda: client.get("/admin/model").json()["challenger_version"] == "v1")

        assert client.get("/admin/model").json()["model_version"] == "v2"


def test_an_unsound_challenger_leaves_the_champion_alone_and_is_named(rig: Rig) -> None:
    """Its bytes change after it was vouched for: the log cannot know, and the scorer does not believe."""
    raw = (rig.models / "v2" / MODEL_FILE).read_bytes()
    (rig.models / "v2" / MODEL_FILE).write_bytes(raw.replace(b"1", b"2", 1))

    rig.move(BeginShadow, challenger=champion_of(rig.models, "v2"))

    assert "hash_mismatch" in rig.info()["challenger_refused"]
    assert {(one.model_version, len(one.shadow_scores)) for one in rig.decide(20)} == {("v1", 0)}
    assert b'fraud_model_reloads_total{result="challenger_refused"} 1.0' in rig.client.get("/metrics").content


class Broken:
    """Of a challenger's model, the part that scores: it raises, or has no number for every second row."""

    version = "v2"

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises

    def score_many(self, rows: np.ndarray) -> list[float]:
        if self._raises:
            raise RuntimeError("a bug")
        return [math.nan if place % 2 else 0.5 for place in range(len(rows))]

    def explain(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(rows)), np.zeros(rows.shape)


@pytest.mark.parametrize(("raises", "missing"), [(True, 40), (False, 20)])
def test_a_challenger_that_cannot_score_costs_no_decision(
    tmp_path: Path, trained: Trained, raises: bool, missing: int
) -> None:
    """Accounts that are its own are the champion's for that payment; the guard hears how many."""
    write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest("v1"))
    named = champion_of(tmp_path, "v1")
    model = load_champion(tmp_path, named, Definitions.of(registry(), FRAUD_SCORING))
    champion = Serving.of(model, DEFAULT_POLICY)
    broken: Any = msgspec.structs.replace(named, version="v2")
    rollout = Rollout(phase=Phase.AB, champion=named, challenger=broken, share=0.999999, salt="s")
    trial: Any = Broken(raises=raises)
    failed: list[int] = []

    judged = Lineup(rollout, champion, Serving(trial, champion.decider)).judged(
        payments(40), trained.rows[:40].astype(np.float32), failed.append
    )

    assert sum(failed) == missing
    assert {frozenset(one.scored_ms) for one in judged} == {frozenset(("v1", "v2"))}  # also of one that failed
    assert Counter(one.serving.model.version for one in judged) == Counter({"v1": missing, "v2": 40 - missing})
    assert all(math.isfinite(one.score) for one in judged)


def test_a_challenger_whose_verdict_fails_leaves_it_to_the_champion(tmp_path: Path, trained: Trained) -> None:
    write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest("v1"))
    named = champion_of(tmp_path, "v1")
    champion = Serving.of(load_champion(tmp_path, named, Definitions.of(registry(), FRAUD_SCORING)), DEFAULT_POLICY)
    challenger: Any = Speechless()
    rollout = Rollout(phase=Phase.AB, champion=named, challenger=named, share=0.999999, salt="s")
    failed: list[int] = []

    judged = Lineup(rollout, champion, challenger).judged(
        payments(4), trained.rows[:4].astype(np.float32), failed.append
    )

    assert ({one.serving for one in judged}, sum(failed)) == ({champion}, 4)


class Speechless:
    """A challenger that scores and has no verdict."""

    class model:  # noqa: N801  # the attribute of a Serving
        version = "v2"

        @staticmethod
        def score_many(rows: np.ndarray) -> list[float]:
            return [0.5] * len(rows)

    def verdicts(self, *_: object) -> list[Any]:
        raise RuntimeError("a bug")


def test_files_that_cannot_be_read_are_waited_for(rig: Rig) -> None:
    """A disk that answers with an error must not end the watching: the next step is followed all the same."""
    pointer = rig.models / "champion"
    raw = pointer.read_bytes()
    pointer.unlink()
    pointer.mkdir()
    until(lambda: "unreadable" in rig.info()["refused"])
    assert {one.model_version for one in rig.decide(5)} == {"v1"}

    pointer.rmdir()
    pointer.write_bytes(raw)
    rig.move(BeginAB, challenger=champion_of(rig.models, "v2"), share=0.5)

    assert {one.model_version for one in rig.decide()} == {"v1", "v2"}


def test_a_trial_that_is_over_decides_nothing_though_the_new_champion_is_refused(rig: Rig, trained: Trained) -> None:
    """Published beside the log, of definitions that this process does not compute."""
    rig.move(BeginAB, challenger=champion_of(rig.models, "v2"), share=0.5)
    write_artifact(rig.models / "v3", trained.booster_json, trained.manifest("v3", service_digest="e" * 64))

    publish_champion(rig.models, "v3")

    until(lambda: "other_definitions" in rig.info()["refused"])
    assert {(one.model_version, len(one.shadow_scores)) for one in rig.decide()} == {("v1", 0)}
