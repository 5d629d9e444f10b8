"""Fixtures shared by all tests: what they need from the machine, and what must be there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from requirements import missing

# The same cases every time where a red run stops others; new ones every time at a desk.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with `parts/` (real images, AutoVI layout) and `weights/`."""
    folder = os.environ.get("FEDPATCHCORE_TEST_DATA", "")
    if not folder:
        missing("data", "FEDPATCHCORE_TEST_DATA is not set (folder with parts/ and weights/)")
    path = Path(folder)
    if not (path / "parts").is_dir():
        missing("data", f"FEDPATCHCORE_TEST_DATA={folder} has no folder parts/")
    if not (path / "weights" / "resnet18_trunk.pth").is_file():
        missing("data", f"FEDPATCHCORE_TEST_DATA={folder} has no weights/resnet18_trunk.pth")
    return path


@pytest.fixture
def flower_task() -> None:
    """Let `Message(...)` be built outside a Flower task; an internal of Flower, so only here."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic data set at its smallest: 24 training and 40 test images of 6 parts."""
    from common.data.synthetic import write_synthetic

    root = tmp_path_factory.mktemp("tiny") / "data"
    write_synthetic(root, images=4, size=32)
    return root


@pytest.fixture
def plain_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a run's pictures and page out: they take seconds and have tests of their own."""
    monkeypatch.setattr("common.runs.output.write_run_plots", lambda folder: [])
    monkeypatch.setattr("common.runs.output.write_report", lambda folders, out: out)
