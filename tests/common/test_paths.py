"""Where the cache is, and a lock that only one process holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.paths import cache_root, locked

TAKE = """
import sys
from pathlib import Path
from common.paths import locked
with locked(Path(sys.argv[1])):
    print("taken", flush=True)
    sys.stdin.read()
"""


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("FEDPATCHCORE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == Path("/home/somebody/.cache/fedpatchcore")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_root() == Path("/caches/fedpatchcore")
    monkeypatch.setenv("FEDPATCHCORE_CACHE", "~/own")
    assert cache_root() == Path("/home/somebody/own")


def take(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, str(path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_lock_waits_for_its_holder_and_ends_with_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        second = take(path)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(1.0)
    assert second.stdout is not None
    assert second.stdout.readline() == "taken\n"
    third = take(path)
    second.kill()
    second.communicate()
    assert third.communicate("", timeout=30)[0] == "taken\n"
    with locked(path):
        pass
