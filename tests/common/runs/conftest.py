"""One small data folder and one cache for all experiments."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.data.layout import DataIndex, index_data


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # One cache for all of them: extraction is what these tests would spend their time on.
    root = tmp_path_factory.getbasetemp() / "experiment-cache"
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(root))


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> DataIndex:
    """A data folder of two categories of the synthetic set, 5 training images each."""
    from common.data.synthetic import write_synthetic

    root = tmp_path_factory.mktemp("experiment") / "data"
    write_synthetic(root, images=5, size=32)
    for name in index_data(root).categories:
        if name not in ("pipe_clip", "pipe_staple"):
            shutil.rmtree(root / name)
    return index_data(root)


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    return tmp_path / "plan.yaml"
