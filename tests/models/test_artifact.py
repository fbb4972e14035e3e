"""From a folder to a served model: hashes first, then a child, then golden vectors."""

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import (
    Champion,
    load_champion,
    open_artifact,
    publish_champion,
    read_champion,
    write_artifact,
)
from fraud_assets.models.manifest import Definitions, Golden, RefusedModel, Thresholds, sha256
from fraud_assets.models.served import ServedModel
from tests.models.made import Trained

DEFINITIONS = Definitions.of(registry(), FRAUD_SCORING)


def load(model_dir: Path) -> ServedModel:
    champion = read_champion(model_dir)
    assert champion is not None
    return load_champion(model_dir, champion, DEFINITIONS)


def test_what_training_writes_the_scorer_serves(model_dir: Path, trained: Trained) -> None:
    """The whole way, child process included."""
    publish_champion(model_dir, "v1")

    model = load(model_dir)

    assert model.version == "v1"
    assert model.sha256 == sha256(trained.booster_json)
    assert abs(model.score(trained.rows[100]) - trained.scores[100]) < 1e-6


def test_without_a_champion_there_is_none(tmp_path: Path) -> None:
    """A fresh machine is no error; the scorer says it is not ready."""
    assert read_champion(tmp_path) is None


def test_a_champion_file_that_is_no_pointer_is_refused(tmp_path: Path) -> None:
    """And neither is one that leads out of the folder."""
    for raw in (b"v1", b'{"version":"../x","manifest_sha256":"%s"}' % (b"0" * 64), b"\xff"):
        (tmp_path / "champion").write_bytes(raw)
        with pytest.raises(RefusedModel, match="bad_champion"):
            read_champion(tmp_path)


def test_any_changed_byte_of_either_file_is_refused_before_it_is_parsed(model_dir: Path) -> None:
    """A thousand mutations, none of them reaching a parser."""
    champion = publish_champion(model_dir, "v1")
    rng = random.Random(0)
    for name in ("model.json", "manifest.json"):
        path = model_dir / "v1" / name
        good = path.read_bytes()
        for _ in range(500):
            at = rng.randrange(len(good))
            path.write_bytes(good[:at] + bytes([good[at] ^ rng.randrange(1, 256)]) + good[at + 1 :])
            with pytest.raises(RefusedModel) as refused:
                open_artifact(model_dir, champion)
            assert refused.value.reason == "hash_mismatch"
        path.write_bytes(good)


def test_a_missing_file_is_refused(model_dir: Path) -> None:
    """Half a copy is no model."""
    champion = publish_champion(model_dir, "v1")
    (model_dir / "v1" / "model.json").unlink()

    with pytest.raises(RefusedModel, match="unreadable"):
        open_artifact(model_dir, champion)


def test_a_model_of_other_definitions_is_refused_naming_both_digests_and_the_view(
    tmp_path: Path, trained: Trained
) -> None:
    """Its features have our names and mean something else."""
    views = {**DEFINITIONS.view_digests, "card_amounts": "1" * 64}
    write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest(service_digest="2" * 64, view_digests=views))
    publish_champion(tmp_path, "v1")

    with pytest.raises(RefusedModel) as refused:
        load(tmp_path)

    message = str(refused.value)
    assert refused.value.reason == "other_definitions"
    assert "2" * 64 in message and DEFINITIONS.service_digest in message and "card_amounts" in message


def test_a_model_that_misses_its_golden_vectors_is_refused(tmp_path: Path, trained: Trained) -> None:
    """By two millionths: its hash is right, its answers are not."""
    wrong = trained.scores[:32] + np.float32(2e-6)
    write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest(golden=Golden.of(trained.rows[:32], wrong)))
    publish_champion(tmp_path, "v1")

    with pytest.raises(RefusedModel, match="golden_mismatch"):
        load(tmp_path)


def test_golden_vectors_that_do_not_fit_are_refused(tmp_path: Path, trained: Trained) -> None:
    """No vectors at all would let any model pass."""
    for golden in (Golden(b"", []), Golden(b"\0" * 8, [0.5]), Golden(b"\0" * 3, [0.5])):
        write_artifact(tmp_path / golden.vectors.hex() / "v1", trained.booster_json, trained.manifest(golden=golden))
        publish_champion(tmp_path / golden.vectors.hex(), "v1")
        with pytest.raises(RefusedModel, match="bad_manifest"):
            load(tmp_path / golden.vectors.hex())


def test_golden_vectors_keep_every_bit(trained: Trained) -> None:
    """NaN and the last bit of a float32 survive JSON."""
    golden = msgspec.json.decode(msgspec.json.encode(Golden.of(trained.rows, trained.scores)), type=Golden)

    rows = golden.rows(len(trained.names))

    assert rows.tobytes() == trained.rows.tobytes()


def test_a_version_never_changes(model_dir: Path, trained: Trained) -> None:
    """Decisions name versions; two models under one name would make them unexplainable."""
    same = write_artifact(model_dir / "v1", trained.booster_json, trained.manifest(created_at_ms=5))
    assert same.created_at_ms == trained.manifest().created_at_ms

    with pytest.raises(FileExistsError, match="version of its own"):
        write_artifact(
            model_dir / "v1", trained.booster_json, trained.manifest(thresholds=Thresholds(review=0.1, deny=0.2))
        )


def test_a_manifest_that_would_be_refused_is_not_written(tmp_path: Path, trained: Trained) -> None:
    """Training hears of it, not the scorer at three in the morning."""
    with pytest.raises(RefusedModel, match="bad_manifest"):
        write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest(service_digest="short"))
    assert list(tmp_path.iterdir()) == []


def test_review_above_deny_is_no_threshold() -> None:
    """Every review would be a denial."""
    with pytest.raises(ValueError, match="review"):
        Thresholds(review=0.9, deny=0.5)


def test_the_command_line_gives_a_verdict_an_operator_can_read(model_dir: Path) -> None:
    """The same that the scorer's child gives."""
    publish_champion(model_dir, "v1")
    command = [sys.executable, "-m", "fraud_assets.models", "verify", str(model_dir)]

    good = subprocess.run(command, capture_output=True, text=True, check=False)
    (model_dir / "v1" / "model.json").write_bytes(b"{}")
    bad = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (good.returncode, bad.returncode) == (0, 3)
    assert "golden vectors agree" in good.stdout
    assert "hash_mismatch" in bad.stderr


def test_serving_a_model_loads_neither_xgboost_nor_an_unpickler(model_dir: Path) -> None:
    """xgboost takes a second to import and parses in C++."""
    publish_champion(model_dir, "v1")
    code = (
        "import sys; from pathlib import Path;"
        "from fraud_assets.models.artifact import *; from fraud_assets.models.served import ServedModel;"
        f"d = Path({str(model_dir)!r}); a = open_artifact(d, read_champion(d));"
        "ServedModel.build(a.manifest, a.model_json);"
        "print(sorted({'xgboost', 'sklearn', 'pandas', 'cloudpickle', 'joblib'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_champion_names_its_manifest(model_dir: Path) -> None:
    """So that a swapped manifest, thresholds and all, is noticed."""
    champion = publish_champion(model_dir, "v1")

    assert champion == Champion("v1", sha256((model_dir / "v1" / "manifest.json").read_bytes()))
    assert read_champion(model_dir) == champion
