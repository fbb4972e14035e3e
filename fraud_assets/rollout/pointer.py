"""What scorers follow: the rollout as of its newest step, in one small file that is replaced as a whole.

    <model_dir>/champion       the version that serves: enough for who knows of no rollouts
    <model_dir>/rollout.json   that, the challenger, whose payments it decides, and which line of the log says so

The champion file is written first and wins where the two disagree: then somebody published a champion beside the
log, or is between the two writes, and in both cases no challenger decides anything.
"""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from fraud_assets.models.artifact import Champion, read_champion, replace_file
from fraud_assets.models.manifest import RefusedModel, Sha256
from fraud_assets.rollout.machine import Phase, Rollout

POINTER_FILE = "rollout.json"
POINTER_FORMAT = 1


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """entry_sha256: of the line of the log whose rollout this is; so a log that was cut is noticed."""

    format: Annotated[int, Meta(ge=POINTER_FORMAT, le=POINTER_FORMAT)] = POINTER_FORMAT
    rollout: Rollout
    entry_sha256: Sha256


def write_pointer(model_dir: Path, pointer: Pointer) -> None:
    replace_file(model_dir / POINTER_FILE, msgspec.json.encode(pointer))


def read_pointer(model_dir: Path) -> Pointer | None:
    """None where there never was a rollout. Raises RefusedModel for a file that is no pointer."""
    path = model_dir / POINTER_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pointer)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        detail = f"{path}: {error}; `python -m fraud_assets.rollout reconcile` writes it again from the log"
        raise RefusedModel("bad_rollout", detail) from None


def follow(model_dir: Path) -> Rollout:
    """What a scorer serves now. Where nothing was ever rolled out, the champion alone. Raises RefusedModel."""
    pointer = read_pointer(model_dir)  # before the champion, which a writer writes before it
    return beside(pointer.rollout if pointer else Rollout(), read_champion(model_dir))


def beside(rollout: Rollout, published: Champion | None) -> Rollout:
    """The rollout, or if another champion was published than it knows, that champion and no challenger."""
    if published is None or published == rollout.champion:
        return rollout
    alone = {"phase": Phase.NONE, "challenger": None, "share": 0.0, "salt": ""}
    return msgspec.structs.replace(rollout, champion=published, previous=rollout.champion, **alone)
