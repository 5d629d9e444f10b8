"""Fixtures shared by all tests: what they need from the machine, and what must be there."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:
    # Side by side, one thread each and for what they start: before anything reads it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Inner loops are compiled once for all tests and whatever they start, also in caches of their own.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache/compiled"))

import pytest
from hypothesis import settings
from requirements import missing

# Two hundred files of tests bring a million objects along, and no garbage: not searched meanwhile,
# nor later on (`pytest_runtestloop`).
gc.disable()

# Started in the background, or by nohup: what the tests start heeds these signals all the same.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)

# The same cases every time where a red run stops others; new ones every time at a desk. How long
# one takes says nothing beside other tests.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

SLOW = ("plant", "docker", "flower", "notebooks", "browser", "realdata")
"""Marks of tests that take up to minutes: begun first, so that nobody waits for them at the end."""
PLANTS = (
    ("tests/plant/", "tests/integration/test_secure_plant.py"),
    (
        *("tests/integration/test_ends_of_runs.py", "tests/integration/test_only_known_code.py"),
        "tests/integration/test_forged_letters.py",
        "tests/integration/test_station_behind_gateway.py",
    ),
)
"""Whole plants, those of a row one after the other. Three at a time were too much for two cores: a
process that takes over 30 s to start is started again by Flower, beside itself."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a plant of processes waits for most of its time."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let a file stay together, since it may share a plant, and start one whole plant at a time."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/faults/"):  # hundreds in one file: a part is a kind of them
                return nodeid.partition("[")[2].partition(":")[0]
            rows = [f"plants {n}" for n, row in enumerate(PLANTS) if nodeid.startswith(row)]
            return rows[0] if rows else nodeid.partition("::")[0]

    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Search for garbage from here on, among what the tests themselves make."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first."""
    rank: dict[Path, int] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        own = [number for number, name in enumerate(SLOW) if name in marks]
        rank[item.path] = min([rank.get(item.path, len(SLOW)), *own])
    items.sort(key=lambda item: rank[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Name a file that leaves the pages of runs patched: later ones would fail for it."""
    yield
    output = sys.modules.get("common.runs.output")
    if output is None or (nextitem is not None and nextitem.path == item.path):
        return
    patched = [
        name
        for name in ("write_run_plots", "write_report")
        if getattr(output, name).__module__ != "common.analysis.report.write"
    ]
    assert not patched, f"{item.nodeid} left {', '.join(patched)} of common.runs.output patched"


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Let the reports of tests of file names that are no text reach the process that prints them.

    One that cannot be sent ends the whole run instead of telling what failed.
    """
    return _sendable((yield))


def _sendable(value: Any) -> Any:
    """The same with everything that has no UTF-8 written out as an escape."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case dict():
            return {_sendable(key): _sendable(one) for key, one in value.items()}
        case list() | tuple():
            return type(value)(_sendable(one) for one in value)
    return value


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


@pytest.fixture(scope="session")
def flower_task() -> None:
    """Let `Message(...)` be built outside a Flower task; an internal of Flower, so only here."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic data set at its smallest: 24 training and 40 test images of 6 parts.

    Drawn once for all of pytest's processes; nobody changes it.
    """
    from common.data.synthetic import write_synthetic
    from common.paths import locked

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root = shared / "tiny" / "data"
    with locked(shared / "tiny.lock"):
        if not (shared / "tiny.drawn").exists():
            write_synthetic(root, images=4, size=32)
            (shared / "tiny.drawn").touch()
    return root


def leave_pages_out(patch: pytest.MonkeyPatch) -> None:
    """Leave a run's pictures and page out: they take seconds and have tests of their own."""
    patch.setattr("common.runs.output.write_run_plots", lambda folder: [])
    patch.setattr("common.runs.output.write_report", lambda folders, out: out)


@pytest.fixture
def plain_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without pictures and page."""
    leave_pages_out(monkeypatch)


@pytest.fixture(scope="module")
def plain_module() -> Iterator[None]:
    """The same for a whole file, whose runs are fixtures that its tests share."""
    with pytest.MonkeyPatch.context() as patch:
        leave_pages_out(patch)
        yield


@pytest.fixture
def one_core() -> Iterator[None]:
    """Let a simulation start one worker: each further one imports for seven processor seconds.

    That several do the same as one is told by `tests/integration/test_simulation.py`.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield
        return
    cores = sorted(os.sched_getaffinity(0))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {cores[worker % len(cores)]})
    yield
    os.sched_setaffinity(0, cores)
