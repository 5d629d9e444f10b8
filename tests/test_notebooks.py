"""The notebooks come without outputs and run top to bottom, on drawings and real images."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = (
    "01_data_exploration",
    "02_baseline_training",
    "03_federated_experiments",
    "04_results_analysis",
)
SMALL = "backbone=resnet18 global-bank-size=200 num-workers=0 device=cpu"


def execute(name: str, data: Path, out: Path, settings: str, patch: pytest.MonkeyPatch) -> str:
    """Run one notebook as a reader would, and return everything that it printed."""
    patch.setenv("DATA_ROOT", str(data))
    patch.setenv("OUTPUT_DIR", str(out))
    patch.setenv("SETTINGS", settings)
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOKS)}})
    client.execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    errors = [one for one in outputs if one.output_type == "error"]
    assert not errors
    texts = [one.get("text", "") for one in outputs]
    texts += [one.get("data", {}).get("text/plain", "") for one in outputs]
    pictures = sum("image/png" in one.get("data", {}) for one in outputs)
    return "\n".join([*texts, f"{pictures} pictures"])


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    setting = [cell for cell in code if "DATA_ROOT =" in cell.source]
    assert len(setting) == 1
    assert "OUTPUT_DIR =" in setting[0].source
    # The package has the logic: a notebook calls it.
    assert not any(
        line.startswith(("def ", "class ")) for c in code for line in c.source.split("\n")
    )


@pytest.mark.notebooks
@pytest.mark.flower
@pytest.mark.usefixtures("one_core")
def test_the_notebooks_run_on_the_synthetic_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.data.synthetic import write_synthetic

    write_synthetic(tmp_path / "data", images=6, size=48)
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    settings = f"{SMALL} weights=random"
    said = {
        name: execute(name, tmp_path / "data", tmp_path / "out", settings, monkeypatch)
        for name in NAMES
    }
    assert "SYNTHETIC drawings" in said[NAMES[0]]
    # sample grid, class bars, defect examples, two partitions
    assert "5 pictures" in said[NAMES[0]]
    assert "failed: none" in said[NAMES[1]]
    assert "has shape (200, 384)" in said[NAMES[2]]
    assert "engine-assembly" in said[NAMES[2]]
    # bars, matrix, boxes, curves, bytes
    assert "5 pictures" in said[NAMES[3]]
    assert "against centralized" in said[NAMES[3]]
    written = sorted(path.parent.name for path in (tmp_path / "out").glob("*/run.json"))
    assert written == ["centralized", "federated_category", "federated_iid", "local"]
    assert (tmp_path / "out" / "centralized" / "training_summary.json").is_file()
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.notebooks
@pytest.mark.realdata
def test_the_notebooks_run_on_real_images(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = sorted((test_data / "weights").glob("*resnet18*"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bottle").symlink_to(test_data / "parts" / "bottle")
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    settings = f"{SMALL} image-size=256 weights={weights[0]}"
    said = {
        name: execute(name, tmp_path / "data", tmp_path / "out", settings, monkeypatch)
        for name in (NAMES[0], NAMES[1], NAMES[3])
    }
    assert "photographs" in said[NAMES[0]]
    assert "failed: none" in said[NAMES[1]]
    # One category: no test can be made of one pair, and the notebook says so.
    assert "too few categories" in said[NAMES[3]]
