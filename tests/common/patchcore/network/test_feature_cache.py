"""The cache keeps its limit, evicts what was not used for longest, and leaves nothing half done."""

from __future__ import annotations

import os
import pickle
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from users import another_user

from common.patchcore.network import feature_cache as module
from common.patchcore.network.feature_cache import FeatureCache

ENTRY = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
BYTES = 4000 + 128 + 12  # the numbers, numpy's header, the mark and the checksum


def key(cache: FeatureCache, name: Any) -> str:
    return cache.key(str(name), "f" * 64, "cpu", np.float32)


def fill(folder: Path, names: str, limit: int = 10**9) -> FeatureCache:
    """A cache with entries of one letter each, used longest ago first."""
    cache = FeatureCache(folder, limit)
    for age, name in enumerate(reversed(names)):
        cache.put(key(cache, name), ENTRY)
        os.utime(folder / f"{key(cache, name)}.npy", (10**9 - age, 10**9 - age))
    return cache


def kept(folder: Path) -> str:
    return "".join(sorted(path.stem for path in folder.rglob("*.npy")))


def test_what_is_put_can_be_got(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "a/b", 10**9)
    assert not cache.has(key(cache, "x"))
    assert cache.get(key(cache, "x")) is None
    cache.put(key(cache, "x"), ENTRY)
    assert cache.has(key(cache, "x"))
    found = cache.get(key(cache, "x"))
    assert found is not None
    assert found.dtype == ENTRY.dtype
    np.testing.assert_array_equal(found, ENTRY)
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700
    assert FeatureCache(tmp_path / "a/b", 10**9).has(key(cache, "x"))


def test_the_oldest_go_first(tmp_path: Path) -> None:
    fill(tmp_path, "abcd")
    cache = FeatureCache(tmp_path, 4 * BYTES)
    cache.put(key(cache, "e"), ENTRY)
    assert kept(tmp_path) == "bcde"
    cache.put(key(cache, "f"), ENTRY)
    assert kept(tmp_path) == "cdef"


def test_use_makes_young(tmp_path: Path) -> None:
    fill(tmp_path, "abcd")
    FeatureCache(tmp_path, 10**9).get(key(FeatureCache(tmp_path, 1), "a"))
    cache = FeatureCache(tmp_path, 4 * BYTES)
    cache.put(key(cache, "e"), ENTRY)
    assert kept(tmp_path) == "acde"


def test_what_this_process_used_stays(tmp_path: Path) -> None:
    fill(tmp_path, "abc")
    cache = FeatureCache(tmp_path, 3 * BYTES)
    assert cache.get(key(cache, "a")) is not None
    cache.put(key(cache, "d"), ENTRY)
    cache.put(key(cache, "e"), ENTRY)
    assert kept(tmp_path) == "ade"
    cache.put(key(cache, "f"), ENTRY)  # all that is there is in use
    assert kept(tmp_path) == "ade"


def test_the_limit_holds_at_every_moment(tmp_path: Path) -> None:
    limit = 3 * BYTES + 50
    for _ in range(3):
        cache = FeatureCache(tmp_path, limit)
        for number in range(7):
            cache.put(key(cache, time.monotonic_ns() + number), ENTRY)
            assert sum(path.stat().st_size for path in tmp_path.rglob("*.npy")) <= limit


def test_an_entry_larger_than_the_limit_drives_out_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "ab")
    cache = FeatureCache(tmp_path, 2 * BYTES)
    cache.put(key(cache, "c"), np.zeros((100, 100, 10), dtype=np.float32))
    assert kept(tmp_path) == "ab"


def test_replacing_an_entry_does_not_count_it_twice(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 2 * BYTES)
    for _ in range(5):
        cache.put(key(cache, "a"), ENTRY)
    cache.put(key(cache, "b"), ENTRY)
    assert kept(tmp_path) == "ab"


def test_entries_of_another_process_are_counted_when_it_matters(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 4 * BYTES)
    fill(tmp_path, "abcd")
    for name in "wxyz":
        cache.put(key(cache, name), ENTRY)
    cache.put(key(cache, "v"), ENTRY)
    assert kept(tmp_path) in ("vwxyz", "wxyz")


def test_little_disk_means_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path, 10**9)
    monkeypatch.setattr(module, "KEEP_FREE_BYTES", 2**62)
    cache.put(key(cache, "a"), ENTRY)
    assert kept(tmp_path) == ""


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path, 10**9)

    def full_disk(file: Any, *_: Any, **__: Any) -> None:
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    cache.put(key(cache, "a"), ENTRY)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert cache.get(key(cache, "a")) is None


def test_what_a_killed_process_left_is_removed_later(tmp_path: Path) -> None:
    cache = fill(tmp_path, "a")
    folder = (tmp_path / key(cache, "a")).parent
    old, new = folder / "b.1.1.partial", folder / "c.2.2.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    FeatureCache(tmp_path, 10**9)
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"rubbish" * 100, pickle.dumps([1, 2]), b"\x93NUMPY\x01\x00\x02\x00{}"],
)
def test_damage_is_a_miss(tmp_path: Path, content: bytes) -> None:
    cache = fill(tmp_path, "a")
    path = tmp_path / f"{key(cache, 'a')}.npy"
    path.write_bytes(content)
    assert cache.get(key(cache, "a")) is None
    for cut in range(0, 200, 7):
        whole = fill(tmp_path, "a")
        path.write_bytes(path.read_bytes()[:cut])
        assert whole.get(key(whole, "a")) is None


@pytest.mark.parametrize("where", [0, 20, 60, 127, 128, 2000, 4127, 4128, 4135, 4136, 4139])
def test_one_flipped_bit_anywhere_is_a_miss_and_the_entry_is_written_anew(
    tmp_path: Path, where: int
) -> None:
    cache = fill(tmp_path, "a")
    path = tmp_path / f"{key(cache, 'a')}.npy"
    content = bytearray(path.read_bytes())
    assert len(content) == BYTES
    content[where] ^= 4
    path.write_bytes(content)
    later = FeatureCache(tmp_path, 10**9)
    assert later.get(key(later, "a")) is None
    later.put(key(later, "a"), ENTRY)
    for found in (later.get(key(later, "a")), FeatureCache(tmp_path, 10**9).get(key(later, "a"))):
        assert found is not None
        np.testing.assert_array_equal(found, ENTRY)


def test_an_entry_without_a_checksum_is_a_miss(tmp_path: Path) -> None:
    cache = fill(tmp_path, "a")
    np.save(tmp_path / f"{key(cache, 'a')}.npy", ENTRY)
    later = FeatureCache(tmp_path, 10**9)
    assert later.get(key(later, "a")) is None


def test_another_shape_or_format_under_this_name_is_a_miss(tmp_path: Path) -> None:
    cache = fill(tmp_path, "a")
    for wrong in (ENTRY.reshape(-1), ENTRY.astype(np.float16), np.array([[[None]]])):
        np.save(tmp_path / f"{key(cache, 'a')}.npy", wrong)
        assert cache.get(key(cache, "a")) is None


def test_a_cache_that_may_only_be_read_still_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = fill(tmp_path, "a")

    def refuse(*_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.get(key(cache, "a")) is not None


def test_a_lost_folder_costs_time_and_never_the_run(tmp_path: Path) -> None:
    """A cache folder that is removed while it is in use ended the run with the system's error."""
    cache = FeatureCache(tmp_path / "cache", 10**9)
    (tmp_path / "cache").rmdir()
    cache.put(key(cache, "a"), ENTRY)
    assert cache.skipped == 1
    assert cache.get(key(cache, "a")) is None


def test_entries_of_another_user_are_passed_over() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "cache"
        fill(folder, "ab")
        Path(place).chmod(0o755)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o600)
        with another_user():
            cache = FeatureCache(folder, 2 * BYTES)
            assert cache.get(key(cache, "a")) is None
            cache.put(key(cache, "c"), ENTRY)
            assert cache.skipped == 1
        assert kept(folder) == "ab"
