"""Model folders: written whole by training, verified before anything believes them.

    <model_dir>/<version>/manifest.json, model.json, and what else training says of it
    <model_dir>/champion          names the version to serve and the hash of its manifest

Order of trust: the champion file vouches for the manifest, the manifest for the model's bytes. Hashes
come first, so a file that somebody or a bad disk changed is never parsed; then a child process parses,
so that whatever a parser may do to its process, it does not do it to the one that answers requests.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from fraud_assets.models.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    Definitions,
    Manifest,
    RefusedModel,
    Sha256,
    VersionName,
    parse_manifest,
    sha256,
)
from fraud_assets.models.served import ServedModel
from fraud_assets.models.verifier import Question, Verifier

Said = TypeVar("Said", bound=msgspec.Struct)

CHAMPION_FILE = "champion"
MAX_FILE_BYTES = 256 * 2**20  # a model of 300 trees has 3 MB; more is a mistake that would fill memory


class Champion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version to serve. Its own hash tells a reload watcher that something changed."""

    version: VersionName
    manifest_sha256: Sha256


@dataclass(frozen=True)
class Artifact:
    """Bytes whose hashes are right; not parsed yet."""

    folder: Path
    manifest: Manifest
    model_json: bytes


def write_artifact(
    folder: Path, booster_json: bytes, manifest: Manifest, beside: Mapping[str, bytes] | None = None
) -> Manifest:
    """Write a model folder, whole or not at all; the manifest returned carries the files' hashes.

    folder: `<model_dir>/<manifest.model_version>`. beside: further files by name, which no scorer reads. Raises ValueError for
    another name, FileExistsError for a version that is there with other bytes: versions never change.
    """
    if folder.name != manifest.model_version:
        raise ValueError(f"the folder of {manifest.model_version} must be named so, not {folder.name}")
    contents = {MODEL_FILE: booster_json, **(beside or {})}
    sealed = msgspec.structs.replace(manifest, files={name: sha256(raw) for name, raw in contents.items()})
    raw = msgspec.json.encode(sealed)
    parse_manifest(raw)  # bounds are checked on decoding; better now than in the scorer
    if folder.exists():
        return _same_as(folder, sealed)
    _write_folder(folder, {**contents, MANIFEST_FILE: raw})
    return sealed


def install_artifact(model_dir: Path, manifest: bytes, files: Mapping[str, bytes]) -> Champion:
    """Write a model's folder from the bytes of its files as they were made, whole or not at all; what names it then.

    files: all that the manifest names. A version that is there stays as it is: versions never change. Raises RefusedModel
    for bytes that do not belong together.
    """
    parsed = parse_manifest(manifest)
    for name, wanted in parsed.files.items():
        _check_hash(name, files[name], wanted)
    folder = model_dir / parsed.model_version
    if not folder.exists():
        _write_folder(folder, {**files, MANIFEST_FILE: manifest})
    return Champion(parsed.model_version, sha256((folder / MANIFEST_FILE).read_bytes()))


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        for name, raw in files.items():
            _write_flushed(draft / name, raw)
        draft.chmod(0o755)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _same_as(folder: Path, sealed: Manifest) -> Manifest:
    """The manifest that is there, if only the time differs: training again gives the same model."""
    there = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    if msgspec.structs.replace(there, created_at_ms=sealed.created_at_ms) != sealed:
        raise FileExistsError(f"{folder} holds another model; give this one a version of its own")
    return there


def champion_of(model_dir: Path, version: str) -> Champion:
    """What would name `version`, as its folder is now. Raises RefusedModel for a name that is none, FileNotFoundError."""
    name = _checked(version)
    return Champion(name, sha256((model_dir / name / MANIFEST_FILE).read_bytes()))


def publish_champion(model_dir: Path, version: str) -> Champion:
    """Make `version` the one scorers serve, atomically. Raises RefusedModel, or FileNotFoundError if it is not there."""
    champion = champion_of(model_dir, version)
    point_to(model_dir, champion)
    return champion


def point_to(model_dir: Path, champion: Champion) -> None:
    """`publish_champion` for who knows the manifest's hash already, from before anything could change the file."""
    replace_file(model_dir / CHAMPION_FILE, msgspec.json.encode(champion))


def replace_file(path: Path, raw: bytes) -> None:
    """Give a file new bytes, at once: a reader sees the old ones or the new ones, also after a power cut."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _write_flushed(draft, raw)
    draft.replace(path)
    flush_folder(path.parent)


def read_champion(model_dir: Path) -> Champion | None:
    """None if no model was ever published. Raises RefusedModel for a file that is no pointer."""
    try:
        raw = (model_dir / CHAMPION_FILE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(raw, type=Champion)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedModel(
            "bad_champion", f"{model_dir / CHAMPION_FILE}: {error}; publish the champion again"
        ) from None


def open_artifact(model_dir: Path, champion: Champion) -> Artifact:
    """Read and hash. Raises RefusedModel."""
    folder = model_dir / champion.version
    raw = _read(folder / MANIFEST_FILE, champion.manifest_sha256)
    manifest = parse_manifest(raw)
    if manifest.model_version != champion.version or MODEL_FILE not in manifest.files:
        raise RefusedModel("bad_manifest", f"{folder} holds the manifest of {manifest.model_version}")
    return Artifact(folder, manifest, _read(folder / MODEL_FILE, manifest.files[MODEL_FILE]))


def open_decided(model_dir: Path, version: str, model_sha256: str) -> bytes:
    """The model file that a decision names by version and hash; its manifest is not asked. Raises RefusedModel.

    The log may hold any text as a version, and a version is a folder's name.
    """
    folder = model_dir / _checked(version)
    return _read(folder / MODEL_FILE, model_sha256)


def read_beside(model_dir: Path, manifest: Manifest, name: str, kind: type[Said]) -> Said | None:
    """What a file beside the model says, its hash checked; None if the manifest names no such file. Raises RefusedModel."""
    wanted = manifest.files.get(name)
    if wanted is None:
        return None
    path = model_dir / manifest.model_version / name
    try:
        return msgspec.json.decode(_read(path, wanted), type=kind)
    except msgspec.DecodeError as error:
        raise RefusedModel("bad_file", f"{path}: {error}") from None


def load_champion(
    model_dir: Path, champion: Champion, definitions: Definitions, verifier: Verifier | None = None
) -> ServedModel:
    """Hash, compare definitions, parse in a child process, check golden vectors, warm. Raises RefusedModel.

    Takes a second with a child of its own, less with one that `verifier` holds ready; call it off the event
    loop, and swap the result in.
    """
    artifact = open_artifact(model_dir, champion)
    definitions.check(artifact.manifest)
    with contextlib.closing(Verifier()) if verifier is None else contextlib.nullcontext(verifier) as child:
        child.check(Question(str(model_dir.resolve()), champion.version, champion.manifest_sha256))
    return ServedModel.build(artifact.manifest, artifact.model_json)


def _checked(version: str) -> str:
    try:
        return msgspec.convert(version, VersionName)
    except msgspec.ValidationError as error:
        raise RefusedModel("bad_version", f"{version[:64]!r}: {error}") from None


def _read(path: Path, wanted: str) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RefusedModel("oversized", f"{path} has {path.stat().st_size} bytes; at most {MAX_FILE_BYTES}")
        raw = path.read_bytes()
    except OSError as error:
        raise RefusedModel("unreadable", f"{path}: {error.strerror}") from None
    _check_hash(str(path), raw, wanted)
    return raw


def _check_hash(name: str, raw: bytes, wanted: str) -> None:
    if sha256(raw) != wanted:
        raise RefusedModel("hash_mismatch", f"{name} has SHA-256 {sha256(raw)}, expected {wanted}")


def _write_flushed(path: Path, raw: bytes) -> None:
    with path.open("wb") as sink:
        sink.write(raw)
        sink.flush()
        os.fsync(sink.fileno())
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """So that a file which is new in it is there after a power cut; folders cannot be flushed on every system."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
