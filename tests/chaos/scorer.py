"""Proofs about the scorer: a store that fails, models that change, model files that are broken."""

import asyncio
import contextlib
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from api.contract import ScoringRequest
from api.intake import scored
from api.scorer import READ_TOGETHER
from deploy.local.fault_proxy import Fault
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.request import RequestReader
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import CHAMPION_FILE, Champion, open_artifact, publish_champion
from fraud_assets.models.manifest import MANIFEST_FILE, MODEL_FILE, sha256
from fraud_assets.models.served import ServedModel
from tests.api.world import KEY
from tests.chaos.load import Answered, open_loop, p99_ms, percentile_ms
from tests.chaos.proof import Outcome, Scale
from tests.chaos.rig import VERSIONS, Rig, batch, payment, rig

WITHIN_MS = 50.0
RECOVERY_S = 2.0
SETTLE_S = 3.0
# Of a batch: more than are read in one round trip.
PAYMENTS = 2 * READ_TOGETHER
UNGUARDED = 'fraud_idempotent_requests_total{status="unguarded"}'
LOADED = 'fraud_model_reloads_total{result="loaded"}'

# When something began and ended (monotonic).
Span = tuple[float, float]


# --------------------------------------------------------------------------------------- R4


def store_faults(scale: Scale) -> Outcome:
    """Valkey stopped, refused, and 50 ms away: every payment is decided in time, alone, under a key or in a batch, and history is
    back within two seconds.
    """
    # What is turned away while a machine pauses is R14's.
    with rig(FRAUD_MAX_IN_FLIGHT="128") as made:
        answers, spans = asyncio.run(_through_faults(made, scale))
        unguarded = made.scorer.metric(UNGUARDED)
    everything = [one for kind in answers.values() for one in kind]
    failures = sum(bool(one.failure) for one in everything)
    figure: dict[str, object] = {
        "requests": len(everything), "failures": failures, "unguarded": int(unguarded),
        "failed_by": dict(Counter(one.failure for one in everything if one.failure)),
    }  # fmt: skip
    passed = failures == 0 and unguarded > 0
    for fault, span in spans.items():
        figure[fault] = found = {
            kind: _under(span, those, _calm(those, spans), scale) for kind, those in answers.items()
        }
        passed = passed and all(one["held"] for one in found.values())
    return Outcome(passed, figure)


def _under(span: Span, answers: list[Answered], calm: list[Answered], scale: Scale) -> dict[str, Any]:
    """What requests of one kind felt of a fault, and whether that is as promised."""
    begin, end = span
    during = [one for one in answers if begin + 0.1 <= one.at_s < end]
    after = [one.at_s for one in answers if one.at_s >= end and not one.failure and not one.degraded]
    degraded, recovery_s = sum(bool(one.degraded) for one in during), min(after, default=float("inf")) - end
    taken_ms, calm_ms = (percentile_ms(those, scale.percent) for those in (during, calm))
    # A fault that nothing noticed proves nothing.
    held = taken_ms <= max(WITHIN_MS, scale.times_calm * calm_ms) and degraded > 0 and recovery_s <= RECOVERY_S
    return {
        f"p{scale.percent:.0f}_ms": round(taken_ms, 1), "calm_ms": round(calm_ms, 1), "degraded": degraded,
        "recovery_s": round(recovery_s, 2), "held": held,
    }  # fmt: skip


def _calm(answers: list[Answered], spans: dict[str, Span]) -> list[Answered]:
    """Those that no fault touched; of the first second, in which connections are made, none."""
    first = answers[0].at_s + 1.0
    return [one for one in answers if one.at_s > first and not any(b <= one.at_s < e + 1.0 for b, e in spans.values())]


async def _through_faults(made: Rig, scale: Scale) -> tuple[dict[str, list[Answered]], dict[str, Span]]:
    """All answers by the kind of request, and when each fault began and ended."""
    faults: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "stopped": made.store_stopped,
        "refused": lambda: _proxied(made, Fault.REFUSED),
        "slow_50_ms": lambda: _proxied(made, Fault.SLOW, 0.050),
    }
    spans, done = dict[str, Span](), asyncio.Event()
    async with made.client() as client:
        kinds = {
            "alone": open_loop(client, payment(), scale.rate / 2, done),
            "keyed": open_loop(client, payment(), scale.rate / 2, done, keyed=True),
            "batch": open_loop(client, batch(PAYMENTS), scale.rate / 10, done),
        }
        load = [asyncio.create_task(kind) for kind in kinds.values()]
        await asyncio.sleep(SETTLE_S)
        for name, fault in faults.items():
            with fault():
                began = time.monotonic()
                await asyncio.sleep(scale.fault_s)
            spans[name] = began, time.monotonic()
            await asyncio.sleep(SETTLE_S)
        done.set()
        return dict(zip(kinds, await asyncio.gather(*load), strict=True)), spans


@contextlib.contextmanager
def _proxied(made: Rig, fault: Fault, delay_s: float = 0.0) -> Iterator[None]:
    made.proxy.set(fault, delay_s)
    try:
        yield
    finally:
        made.proxy.set(Fault.NONE)


# --------------------------------------------------------------------------------------- R12


def reloads(scale: Scale) -> Outcome:
    """Champions swapped under load: no request fails, and each score is the stated version's own."""
    with rig() as made:
        body = payment(account_id="nobody")
        wanted = {version: _score(made, version, body) for version in VERSIONS}
        began = time.monotonic()
        answers = asyncio.run(_through_reloads(made, scale, body))
        taken_s = time.monotonic() - began
        loaded = made.scorer.metric(LOADED) - 1
    wrong = sum(not one.failure and one.score != wanted[one.model_version] for one in answers)
    versions = {one.model_version for one in answers}
    figure = {
        "reloads": int(loaded), "seconds": round(taken_s, 1), "requests": len(answers), "wrong_scores": wrong,
        "failures": sum(bool(one.failure) for one in answers), "p99_ms": round(p99_ms(answers), 1),
    }  # fmt: skip
    told_apart = len(set(wanted.values())) == len(wanted)
    passed = wrong == 0 and figure["failures"] == 0 and loaded >= scale.reloads and versions == set(wanted)
    return Outcome(passed and told_apart, figure)


async def _through_reloads(made: Rig, scale: Scale, body: bytes) -> list[Answered]:
    done = asyncio.Event()
    async with made.client() as client:
        load = asyncio.create_task(open_loop(client, body, scale.rate, done))
        for turn in range(scale.reloads):
            publish_champion(made.model_dir, "v2" if turn % 2 == 0 else "v1")
            await asyncio.to_thread(made.reload)
        await asyncio.sleep(0.5)
        done.set()
        return await load


def _score(made: Rig, version: str, body: bytes) -> float:
    """What a version makes of a payment of unknown entities, computed here."""
    artifact = open_artifact(made.model_dir, publish_champion(made.model_dir, version))
    model = ServedModel.build(artifact.manifest, artifact.model_json)
    reader = RequestReader(ServicePlan(EnginePlan(registry()), FRAUD_SCORING))
    asked = msgspec.json.decode(body, type=ScoringRequest)
    event = scored(asked, KEY, asked.event_time_ms)
    publish_champion(made.model_dir, "v1")
    nothing: list[bytes | None] = [None] * len(reader.groups)
    return model.score(reader.read(nothing, event, event.event_time_ms, event.transaction_id).features)


# --------------------------------------------------------------------------------------- R13


def broken_models(scale: Scale) -> Outcome:
    """Model files with bytes changed, cut, swapped or gone, and whole ones that lie: none is served, the process lives."""
    chance = random.Random(13)
    kinds: dict[str, int] = {}
    with rig() as made:
        body = payment(account_id="nobody")
        wanted, changed = _score(made, "v1", body), 0
        made.reload()  # what was published to be scored is loaded by now, so no look at the folder finds it later
        before = made.scorer.metric(LOADED)
        for turn in range(scale.mutations):
            # One in twenty is vouched for by right hashes, so that parser and golden vectors must find it.
            mutation = chance.choice(_LIES if turn % 20 == 19 else _DAMAGES)
            kinds[mutation.__name__.strip("_")] = kinds.get(mutation.__name__.strip("_"), 0) + 1
            with _restored(made.model_dir):
                mutation(made.model_dir, chance)
                made.reload()
            if turn % 20 == 19:
                changed += float(ask_once(made, body)["fraud_score"]) != wanted
        accepted = int(made.scorer.metric(LOADED) - before)
        made.reload()
        counts = made.scorer.metric(LOADED) - before - accepted == 1  # else the counter proves nothing
    figure = {"mutations": scale.mutations, "accepted": accepted, "changed_scores": changed, "by_kind": kinds}
    return Outcome(accepted == 0 and changed == 0 and counts, figure)


def ask_once(made: Rig, body: bytes) -> dict[str, Any]:
    """The answer to a payment."""

    async def ask() -> dict[str, Any]:
        async with made.client() as client:
            return dict(msgspec.json.decode(await client.post("/predict", body)))

    return asyncio.run(ask())


@contextlib.contextmanager
def _restored(model_dir: Path) -> Iterator[None]:
    """The model folder as it was, afterwards."""
    kept = model_dir.with_name("kept")
    shutil.copytree(model_dir, kept)
    try:
        yield
    finally:
        shutil.rmtree(model_dir)
        kept.rename(model_dir)


def _files(model_dir: Path) -> list[Path]:
    return [model_dir / "v1" / MODEL_FILE, model_dir / "v1" / MANIFEST_FILE, model_dir / CHAMPION_FILE]


def _flipped_bit(model_dir: Path, chance: random.Random) -> None:
    path = chance.choice(_files(model_dir))
    raw = bytearray(path.read_bytes())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    path.write_bytes(raw)


def _cut_short(model_dir: Path, chance: random.Random) -> None:
    path = chance.choice(_files(model_dir))
    raw = path.read_bytes()
    path.write_bytes(raw[: chance.randrange(len(raw))])


def _grown(model_dir: Path, chance: random.Random) -> None:
    path = chance.choice(_files(model_dir))
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 4_096)))


def _shuffled_span(model_dir: Path, chance: random.Random) -> None:
    path = chance.choice(_files(model_dir)[:2])
    raw = bytearray(path.read_bytes())
    first = chance.randrange(len(raw) - 64)
    raw[first : first + 64] = chance.randbytes(64)
    path.write_bytes(raw)


def _gone(model_dir: Path, chance: random.Random) -> None:
    chance.choice(_files(model_dir)[:2]).unlink()


def _folder_instead(model_dir: Path, chance: random.Random) -> None:
    path = chance.choice(_files(model_dir)[:2])
    path.unlink()
    path.mkdir()


def _another_versions(model_dir: Path, chance: random.Random) -> None:
    name = chance.choice([MODEL_FILE, MANIFEST_FILE])
    shutil.copy(model_dir / "v2" / name, model_dir / "v1" / name)


def _no_version(model_dir: Path, chance: random.Random) -> None:
    pointer = Champion(f"v{chance.randrange(3, 1_000)}", f"{chance.getrandbits(256):064x}")
    (model_dir / CHAMPION_FILE).write_bytes(msgspec.json.encode(pointer))


_DAMAGES = (
    _flipped_bit, _cut_short, _grown, _shuffled_span, _gone, _folder_instead, _another_versions, _no_version,
)  # fmt: skip


def _vouched(model_dir: Path, model: bytes) -> None:
    """Hashes all the way up that say these bytes are the model."""
    folder = model_dir / "v1"
    (folder / MODEL_FILE).write_bytes(model)
    manifest = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes())
    manifest["files"][MODEL_FILE] = sha256(model)
    raw = msgspec.json.encode(manifest)
    (folder / MANIFEST_FILE).write_bytes(raw)
    (model_dir / CHAMPION_FILE).write_bytes(msgspec.json.encode(Champion("v1", sha256(raw))))


def _lying_other_model(model_dir: Path, _: random.Random) -> None:
    _vouched(model_dir, (model_dir / "v2" / MODEL_FILE).read_bytes())


def _lying_half(model_dir: Path, chance: random.Random) -> None:
    raw = (model_dir / "v1" / MODEL_FILE).read_bytes()
    _vouched(model_dir, raw[: chance.randrange(len(raw))])


def _lying_trees(model_dir: Path, chance: random.Random) -> None:
    """A child that is its own parent: whoever walks this tree never arrives."""
    model = msgspec.json.decode((model_dir / "v1" / MODEL_FILE).read_bytes())
    tree = chance.choice(model["learner"]["gradient_booster"]["model"]["trees"])
    inner = [place for place, child in enumerate(tree["left_children"]) if child >= 0]
    tree[chance.choice(["left_children", "right_children"])][chance.choice(inner)] = chance.choice([0, 10**6, -5])
    _vouched(model_dir, msgspec.json.encode(model))


def _lying_leaves(model_dir: Path, _: random.Random) -> None:
    model = msgspec.json.decode((model_dir / "v1" / MODEL_FILE).read_bytes())
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        tree["split_conditions"] = [0.0] * len(tree["split_conditions"])
    _vouched(model_dir, msgspec.json.encode(model))


_LIES = (_lying_other_model, _lying_half, _lying_trees, _lying_leaves)
