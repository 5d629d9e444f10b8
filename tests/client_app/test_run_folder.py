"""What a station keeps between the messages of a run."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from client_app.run_folder import RunFolder


def test_save_then_load_is_identity(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "press", 7)
    arrays = {
        "rows.tank screw": np.arange(6, dtype=np.float16).reshape(3, 2),
        "file": np.zeros((0, 4), np.float32),  # a name that numpy's own argument has
        "seconds": np.array([1.5, 2.0]),
    }
    folder.save("rows-1", arrays)
    loaded = RunFolder(tmp_path, "press", 7).load("rows-1")
    assert loaded is not None
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


def test_what_was_never_saved_is_none(tmp_path: Path) -> None:
    assert RunFolder(tmp_path, "press", 7).load("rows-1") is None


@pytest.mark.parametrize(("station", "run"), [("press", 8), ("mill", 7)])
def test_runs_and_stations_do_not_see_each_other(tmp_path: Path, station: str, run: int) -> None:
    RunFolder(tmp_path, "press", 7).save("rows-1", {"x": np.ones(1)})
    assert RunFolder(tmp_path, station, run).load("rows-1") is None


def test_a_half_written_file_is_never_seen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "press", 7)
    (folder.folder / "rows-1.123.partial").write_bytes(b"PK half")
    assert folder.load("rows-1") is None


def test_clear_removes_all(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "press", 7)
    with folder.lock():
        folder.save("rows-1", {"x": np.ones(1)})
        folder.clear()
    assert list((tmp_path / "runs").iterdir()) == []


def test_private_to_one_user(tmp_path: Path) -> None:
    assert RunFolder(tmp_path, "press", 7).folder.stat().st_mode & 0o777 == 0o700


def test_folders_of_a_week_ago_are_removed_younger_ones_stay(tmp_path: Path) -> None:
    old, young = RunFolder(tmp_path, "press", 1), RunFolder(tmp_path, "press", 2)
    week = 7 * 24 * 3600
    os.utime(old.folder, (time.time() - week - 60,) * 2)
    os.utime(young.folder, (time.time() - week + 60,) * 2)
    RunFolder(tmp_path, "press", 3)
    assert not old.folder.exists()
    assert young.folder.exists()


def test_a_folder_that_vanishes_while_looking_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another station's process may clear its folder between the listing and the look.
    gone = tmp_path / "runs" / "9-gone"
    real = Path.iterdir
    monkeypatch.setattr(
        Path, "iterdir", lambda self: iter([*real(self), *([gone] if self.name == "runs" else [])])
    )
    RunFolder(tmp_path, "press", 7)


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    folder, order = RunFolder(tmp_path, "press", 7), []

    def second() -> None:
        with RunFolder(tmp_path, "press", 7).lock():
            order.append("second")

    thread = threading.Thread(target=second)
    with folder.lock():
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
