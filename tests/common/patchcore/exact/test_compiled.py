"""Inner loops are compiled once for each content of their sources, wherever these lie."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numba
import pytest

LOOP = """
from numba import types
from common.patchcore.exact.compiled import compiled

@compiled(types.int64(types.int64))
def after(number):
    return number + 1
"""


def loaded(folder: Path, beside: str) -> Any:
    """The loop out of an installation in this folder, with another file beside it."""
    folder.mkdir()
    (folder / "beside.py").write_text(beside)
    source = folder / "loop.py"
    source.write_text(LOOP)
    spec = importlib.util.spec_from_file_location("loop", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.after


@pytest.mark.parametrize("variable", ["FEDPATCHCORE_CACHE", "NUMBA_CACHE_DIR"])
def test_the_same_sources_in_another_place_are_not_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    # numba looks at its variable when it next compiles, which would be too late.
    monkeypatch.setattr(numba.config, "CACHE_DIR", os.environ.get("NUMBA_CACHE_DIR", ""))

    first = loaded(tmp_path / "first", "STEP = 1")
    second = loaded(tmp_path / "second", "STEP = 1")
    other = loaded(tmp_path / "third", "STEP = 2")

    assert [one(41) for one in (first, second, other)] == [42, 42, 42]
    found = [sum(one.stats.cache_hits.values()) for one in (first, second, other)]
    assert found == [0, 1, 0]
    assert len(list((tmp_path / "cache").rglob("loop.py"))) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))

    assert loaded(tmp_path / "first", "")(41) == 42
