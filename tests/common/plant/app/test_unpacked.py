"""What Flower left unpacked is removed, and nobody else's is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.cli.install import install_from_fab
from machine_cases import fill, mounted

from common.errors import RunError
from common.plant.app.installed import installed_app
from common.plant.app.unpacked import flower_home, own_home, remove_apps, remove_left
from common.runs.flower_run import app_folder


def half_an_app(home: Path) -> Path:
    folder = home / "apps" / "fedpatchcore.fedpatchcore.0.1.0.0123abcd"
    (folder / "common").mkdir(parents=True)
    (folder / "common" / "half.py").write_text("def")
    return folder


def test_apps_are_removed_and_all_else_stays(tmp_path: Path) -> None:
    half_an_app(tmp_path)
    (tmp_path / "config.toml").write_text("")
    remove_apps(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    remove_apps(tmp_path)  # nothing there is nothing wrong


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_there_in_the_place_of_the_folder(tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    apps = tmp_path / "apps"
    apps.symlink_to(elsewhere) if kind == "link" else apps.touch()
    remove_apps(tmp_path)
    assert not os.path.lexists(apps)
    assert (elsewhere / "kept").exists()


def test_what_cannot_be_removed_is_named(tmp_path: Path) -> None:
    half_an_app(tmp_path)
    with mounted(tmp_path / "apps"):
        (tmp_path / "apps" / "here").touch()
        with pytest.raises(RunError, match="an app that was unpacked earlier cannot be removed"):
            remove_apps(tmp_path)


def test_why_flower_takes_a_folder_that_is_there_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half unpacked on a full disk, then whole once it is removed: the reason for all of this."""
    archive = build_fab_from_disk(app_folder())
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))

    def unpacked() -> set[str]:
        place = install_from_fab(archive, skip_prompt=True)
        files = (path for path in place.rglob("*") if path.is_file())
        return {path.relative_to(place).as_posix() for path in files}

    whole = set(installed_app().contents)
    with mounted(tmp_path / "home", "size=8m") as home:
        fill(home, leave=400 * 1024)
        with pytest.raises((OSError, shutil.Error)):
            unpacked()
        (home / "filler").unlink()
        assert unpacked() < whole  # no error, and files are missing
        remove_apps(home)
        assert unpacked() == whole


def test_each_process_has_a_home_and_those_of_the_dead_go(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for number in (ended.pid, living.pid, os.getpid()):
            half_an_app(tmp_path / f"process-{number}")
        (tmp_path / "process-notes").mkdir()
        own = own_home(tmp_path)
        assert own.name == f"process-{os.getpid()}"
        assert list(own.iterdir()) == []
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {f"process-{living.pid}", own.name, "process-notes"}
    finally:
        living.communicate(b"\n")
    remove_left(tmp_path)
    assert not (tmp_path / f"process-{living.pid}").exists()


def test_without_a_home_nothing_is_unpacked_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLWR_HOME", raising=False)
    with pytest.raises(RunError, match="FLWR_HOME is not set"):
        flower_home()
