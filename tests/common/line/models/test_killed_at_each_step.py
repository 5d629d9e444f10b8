"""`kill -9` at every file-system step: a whole model is active after each, and work goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from model_versions import rows_of, small_model

from common.line.models import ModelVersions

#: What changes a folder: the interpreter tells of each step before it happens. Removing a tree
#: names its files without their folder, and this process does nothing else: all of them count.
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link"}


def inside(path: str | bytes | os.PathLike[str], folder: Path) -> bool:
    return os.fsdecode(path).startswith(str(folder))


def kill_at(step: int, folder: Path) -> None:
    """Kill this process in front of its n-th step in the folder, synchronisations among them."""
    left = [step]

    def reached() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        path = arguments[0] if event == "open" else None
        opened = isinstance(path, str | bytes | os.PathLike) and inside(path, folder)
        if opened or event in CHANGES:
            reached()

    synchronise = os.fsync

    def fsync(handle: int) -> None:
        reached()
        synchronise(handle)

    os.fsync = fsync  # in a process of its own, which ends here
    sys.addaudithook(hook)


def in_child(work: Callable[[], object], step: int, folder: Path) -> bool:
    """Whether the work came to its end before the step."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            kill_at(step, folder)
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions, of which the third is active and the second was."""
    folder = tmp_path_factory.mktemp("models")
    versions = ModelVersions(folder)
    for name in ("1", "2", "3"):
        versions.store(name, name, small_model(int(name)))
        versions.activate(name, by="", why="")
    return folder


def deliver(versions: ModelVersions) -> None:
    """All that a delivery does: store, keep the figures, switch, remove the oldest."""
    versions.store("4", "4", small_model(4))
    versions.accept("4", {"accepted": True})
    versions.activate("4", by="", why="")
    versions.keep(2)


WORK = {
    "deliver": (deliver, "4"),
    "roll back": (lambda versions: versions.rollback(), "2"),
    "activate": (lambda versions: versions.activate("1", by="", why=""), "1"),
}


@pytest.mark.parametrize("kind", WORK)
def test_a_whole_model_is_active_whenever_the_writer_is_killed(
    kind: str, begun: Path, tmp_path: Path
) -> None:
    work, after = WORK[kind]
    step, found = 0, []
    while True:
        folder = tmp_path / str(step)
        shutil.copytree(begun, folder)
        ended = in_child(lambda folder=folder: work(ModelVersions(folder)), step, folder)
        versions = ModelVersions(folder)
        active = versions.active()
        assert active is not None, step
        assert active.name in ("3", after), step
        assert (rows_of(active.folder) == small_model(int(active.name)).banks["plate"]).all()
        for one in versions.all():  # and whatever is listed is whole
            assert (rows_of(one.folder) == small_model(int(one.name)).banks["plate"]).all()
        found.append(active.name)
        if ended:
            break
        if active.name == "3":
            work(versions)  # who comes next does it, whatever was left
            assert versions.active().name == after
            assert [
                p.name for p in folder.iterdir() if p.name[0] == "." and p.name != ".lock"
            ] == []
        shutil.rmtree(folder)
        step += 1
    assert step >= 4
    # Once switched it stays so, and both sides of the switch were tried.
    assert found == sorted(found, key=lambda name: name != "3")
    assert {*found} == {"3", after}


def test_removing_old_versions_leaves_whatever_is_listed_whole(begun: Path, tmp_path: Path) -> None:
    """`models --keep 1`, as a station's disk fills up: the one that judges is not touched."""
    start = tmp_path / "start"
    shutil.copytree(begun, start)
    versions = ModelVersions(start)
    versions.store("4", "4", small_model(4))
    versions.refuse("4", {"accepted": False}, "9 of 9 good parts lie above the threshold")
    before = {one.name for one in versions.all()}
    assert before == {"1", "2", "3", "4"}
    step, left_behind = 0, []
    while True:
        folder = tmp_path / str(step)
        shutil.copytree(start, folder)
        ended = in_child(lambda folder=folder: ModelVersions(folder).keep(1), step, folder)
        versions = ModelVersions(folder)
        listed = {one.name: one for one in versions.all()}
        # The active one, and the one that a roll-back leads to, whatever is gone by now.
        assert {"2", "3"} <= set(listed) <= before, step
        assert listed["3"].state == "active", step
        for name, one in listed.items():
            assert (rows_of(one.folder) == small_model(int(name)).banks["plate"]).all(), (
                step,
                name,
            )
        left_behind.append(len(listed))
        if ended:
            break
        versions.keep(1)  # who comes next does the rest
        assert {one.name for one in versions.all()} == {"2", "3"}, step
        assert {p.name for p in folder.iterdir()} == {"2", "3", ".lock", "active.json"}, step
        versions.rollback(by="", why="")
        active = versions.active()
        assert active is not None
        assert active.name == "2"
        shutil.rmtree(folder)
        step += 1
    # Killed before anything was gone, between the two removals, and after them.
    assert left_behind == sorted(left_behind, reverse=True)
    assert {*left_behind} == {4, 3, 2}
