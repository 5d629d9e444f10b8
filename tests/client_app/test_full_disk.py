"""No space left on a station: one clear code, nothing half written; a cache just keeps less."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from machine_cases import mounted

from client_app.failures import failure_code
from client_app.run_folder import RunFolder
from common.errors import RunError
from common.patchcore.network import feature_cache
from common.patchcore.network.feature_cache import FeatureCache

KIB = 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB and 40 files."""
    with mounted(tmp_path / "disk", "size=256k", "nr_inodes=40") as disk:
        yield disk


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses longer files: like a full disk, and any user may ask for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(folder: RunFolder) -> RunError:
    with pytest.raises(RunError) as error:
        folder.save("rows-1", {"rows.shared": np.ones((1000, 384), np.float16)})  # 768 kB
    return error.value


def look(folder: RunFolder, error: RunError) -> None:
    assert failure_code(error) == "no-space"
    # The log names the file and what to do; the server only gets the code's advice.
    assert str(folder.folder / "rows-1") in str(error)
    assert "free some, or give another cache-dir" in str(error)
    assert list(folder.folder.iterdir()) == []
    assert folder.load("rows-1") is None


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "press", 7)
    with files_of_at_most(100 * KIB):
        error = fill(folder)
    look(folder, error)
    folder.save("rows-1", {"x": np.ones(3)})  # with room again all is well
    assert folder.load("rows-1") is not None


def test_a_disk_that_is_full(small_disk: Path) -> None:
    folder = RunFolder(small_disk, "press", 7)
    look(folder, fill(folder))


def test_a_disk_without_room_for_a_folder(small_disk: Path) -> None:
    with contextlib.suppress(OSError):
        for number in range(100):
            (small_disk / f"ballast-{number}").touch()
    with pytest.raises(RunError, match="cannot be written") as error:
        RunFolder(small_disk, "press", 7)
    assert failure_code(error.value) == "no-space"


def test_a_feature_cache_on_a_full_disk_keeps_less_and_loses_nothing(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "KEEP_FREE_BYTES", 0)
    # Promise room, so that the write itself fails, as when another program fills the disk.
    monkeypatch.setattr(FeatureCache, "_make_room", lambda self, needed, spare: True)
    cache = FeatureCache(small_disk, 10**9)
    entry = np.ones((8, 8, 384), np.float32)  # 98 kB: two fit
    keys = [cache.key(str(number), "f" * 64, "cpu", np.float32) for number in range(4)]
    for key in keys:
        cache.put(key, entry)
    assert [cache.get(key) is not None for key in keys] == [True, True, False, False]
    assert cache.skipped == 2
    assert list(small_disk.rglob("*.partial")) == []


HELPERS = str(Path(__file__).parents[1] / "helpers")

SCRIPT = """
import json, resource, sys
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
from client_app.app import app
from common.config import Settings
from common.protocol.messages import BuildRequest
from common.protocol.records import to_request
data, cache, helpers = sys.argv[1:]
sys.path.insert(0, helpers)
from letter_cases import plant_keys
keys = plant_keys()
settings = Settings(backbone="resnet18", weights="random", num_workers=1, device="cpu")
node = {"station": "press", "data-root": data, "cache-dir": cache, **keys.node_config("press")}
context = Context(1, 3, node, RecordDict(), settings.to_run_config())
facts = BuildRequest(round=1, budgets={"shared": 200}, part=0, parts=1, bank_parts=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
message = Message(to_request(facts, 600.0), dst_node_id=3, message_type="train")
print(keys.ask(app, message, context).content["failure"]["json"])
"""


def test_a_whole_station_without_space_tells_the_server_so(tiny_data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_data), str(cache), HELPERS],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "FLWR_TELEMETRY_ENABLED": "0"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == "no-space"
    assert "lower cache-limit-gb" in told["reason"]
    assert str(tmp_path) not in done.stdout
    assert str(cache / "runs") in done.stderr  # the station's log names the place
    assert list(cache.rglob("*.partial")) == []
