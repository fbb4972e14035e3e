"""The notebook for data scientists runs from its first cell to its last, over a lake that the platform made."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.history import LABEL_DELAY_DAYS, WARM_UP_DAYS, make_past

NOTEBOOK = "docs/notebooks/training_set.ipynb"


@pytest.mark.timeout(300)
def test_every_cell_runs_and_draws(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    past = make_past(tmp_path / "var")
    for name, value in {
        "FRAUD_VAR_DIR": past.folder,
        "FRAUD_LABEL_DELAY_DAYS": LABEL_DELAY_DAYS,
        "FRAUD_WARM_UP_DAYS": WARM_UP_DAYS,
        "PYTHONPATH": root,
        "IPYTHONDIR": tmp_path,
        "JUPYTER_PREFER_ENV_PATH": "1",
    }.items():
        monkeypatch.setenv(name, str(value))
    page = nbformat.read(root / NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]  # nbformat leaves it untyped

    NotebookClient(page, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in page.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert "average precision" in "".join(output.get("text", "") for output in outputs)
