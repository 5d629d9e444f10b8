"""Whole runs in one process for the tests of the conversation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_grid import Finished, Tamper, run_local, small_settings

Run = Callable[..., Finished]


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shared_cache(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One feature cache for all runs here: most of them extract nothing."""
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(cache_folder))


@pytest.fixture(scope="module")
def parts(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the six parts: 12 training and 14 test images."""
    root = tmp_path_factory.mktemp("three") / "data"
    root.mkdir()
    for name in ("pipe_clip", "pipe_staple", "tank_screw"):
        (root / name).symlink_to(tiny_data / name)
    shutil.copy(tiny_data / "synthetic.json", root)
    return root


@pytest.fixture
def run(parts: Path, tmp_path: Path, plain_files: None) -> Run:
    """Run three stations on three parts; keyword arguments are settings."""
    numbers = iter(range(100))

    def start(tamper: Tamper | None = None, nodes: Any = None, **changes: Any) -> Finished:
        settings = small_settings(
            parts,
            tmp_path / f"run-{next(numbers)}",
            **{"num_stations": 3, "global_bank_size": 40, **changes},
        )
        extra = {} if tamper is None else {"tamper": tamper}
        return run_local(settings, nodes=nodes, **extra)

    return start
