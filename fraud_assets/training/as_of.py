"""Which model an as-of day gave, and which training set a day is compared with.

Apart from run.py, for who only asks must not wait for XGBoost.
"""

from pathlib import Path

from fraud_assets.models.manifest import MANIFEST_FILE, Manifest, parse_manifest
from fraud_assets.training import store

AS_OF_FOLDER = "as_of"


def note_model(model_dir: Path, as_of: str, version: str) -> None:
    """`<model_dir>/as_of/<day>` names the model of that day; checks and promotion go by it."""
    path = model_dir / AS_OF_FOLDER / as_of
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{as_of}.tmp")
    draft.write_text(version)
    draft.replace(path)


def latest_model(model_dir: Path, as_of: str) -> str:
    """The version that the newest training as of a day gave. Raises FileNotFoundError."""
    version = _noted(model_dir, as_of)
    if version is None:
        raise FileNotFoundError(f"No model was trained as of {as_of}. Materialize fraud_model of that day first.")
    return version


def models_by_day(model_dir: Path) -> dict[str, str]:
    """The model that the newest training as of each day gave, ascending."""
    folder = model_dir / AS_OF_FOLDER
    found = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    return {day: (folder / day).read_text() for day in found}


def reference_as_of(training_root: str, model_dir: Path, until: str, served: str | None) -> str:
    """The as-of day whose training set a day is compared with, itself not later than `until`.

    The one that the day's model was trained on; the newest where no model served, or none of ours is known.
    Raises FileNotFoundError if there is no training set yet.
    """
    found = [day for day in store.days(training_root) if day <= until]
    if not found:
        raise FileNotFoundError(f"No training set is as of {until} or before. Materialize training_set first.")
    of_model = [day for day in found if _noted(model_dir, day) == served]
    return of_model[-1] if served and of_model else found[-1]


def _noted(model_dir: Path, as_of: str) -> str | None:
    path = model_dir / AS_OF_FOLDER / as_of
    return path.read_text() if path.exists() else None


def manifest_of(model_dir: Path, version: str) -> Manifest:
    return parse_manifest((model_dir / version / MANIFEST_FILE).read_bytes())
