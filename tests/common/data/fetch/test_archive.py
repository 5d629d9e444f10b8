"""Unpacking: what a category's zip may hold, and what no zip gets away with."""

from __future__ import annotations

import os
import stat
import struct
import threading
import zipfile
from pathlib import Path

import pytest
from fetch_cases import files_of, zip_of
from machine_cases import mounted

from common.data.fetch.archive import unpack
from common.data.fetch.trouble import StoppedError
from common.errors import RunError

GOOD = ("train/good/0.png", b"0" * 1000)
MOST = 10**6


def packed(folder: Path, content: bytes) -> Path:
    path = folder / "part.zip"
    path.write_bytes(content)
    return path


def refused(folder: Path, content: bytes, most: int = MOST) -> str:
    """What is said; nothing lies outside the folder that was to be made."""
    path = packed(folder, content)
    with pytest.raises(RunError) as caught:
        unpack(path, folder / "part", most)
    assert set(os.listdir(folder)) <= {"part.zip", "part"}
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "part/", "part/part/", "a/b/c/"])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_however_deep_it_lies(tmp_path: Path, prefix: str, separator: str) -> None:
    """The published zips give `part/part/` where one unpacks them into a folder of their name."""
    inside = {
        "train/good/0.png": b"a",
        "test/test/0.png": b"b",  # a defect type of such a name
        "ground_truth/test/0/0000.png": b"c",
        "ground_truth/train/0/0000.png": b"c",
        "defects_config.json": b"[]",
    }
    around = {"__MACOSX/part/train/good/._0.png": b"x", "LICENSE.txt": b"free", ".DS_Store": b"x"}
    entries = [(prefix + name, content) for name, content in inside.items()]
    infos = []
    for name, content in (*entries, *around.items()):
        info = zipfile.ZipInfo(name)
        info.filename = info.orig_filename = name.replace("/", separator)
        infos.append((info, content))
    told: list[tuple[int, int | None]] = []
    path = packed(tmp_path, zip_of(infos))
    unpack(path, tmp_path / "part", MOST, lambda *numbers: told.append(numbers))
    assert files_of(tmp_path / "part") == {**inside, "LICENSE.txt": b"free"}
    assert sum(len(names) for _, _, names in os.walk(tmp_path / "part")) == 6
    assert told[-1][0] == told[-1][1] == sum(map(len, inside.values())) + 4


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "part/../../evil",
        "/tmp/evil",
        "//host/evil",
        "C:/evil",
        "C:\\evil",
        "..\\evil",
        "\\evil",
        "part/train/good/../../../../evil",
    ],
)
def test_a_name_that_leads_out(tmp_path: Path, name: str) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    said = refused(tmp_path, zip_of([("part/train/good/0.png", b"0"), (info, b"evil")]))
    assert "has a name that leads out of the folder" in said
    assert not (tmp_path / "part").exists()


def test_a_link_and_what_would_be_written_through_it(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("part/train/good")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    said = refused(tmp_path, zip_of([(link, b"/tmp"), ("part/train/good/evil", b"x")]))
    assert "is a link or a device, not a file" in said


def test_a_name_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zip_of([GOOD, GOOD])
    assert "is there twice" in refused(tmp_path, twice)
    upper = ("train/good/0.PNG", b"1")
    assert "are one name on some disks" in refused(tmp_path, zip_of([GOOD, upper]))
    below = ("train/good/0.png/1.png", b"1")
    assert "lies in what is a file" in refused(tmp_path, zip_of([GOOD, below]))
    beside = zip_of([("a/train/good/0.png", b"0"), ("a/LICENSE", b"1"), ("LICENSE", b"2")])
    assert "is there twice" in refused(tmp_path, beside)


def test_no_category_and_several(tmp_path: Path) -> None:
    assert "train/ or test/ in it, found none" in refused(tmp_path, zip_of([("a/b.png", b"0")]))
    two = zip_of([("a/train/good/0.png", b"0"), ("b/train/good/0.png", b"0")])
    assert "train/ or test/ in it, found a, b" in refused(tmp_path, two)
    assert "found none" in refused(tmp_path, zip_of([]))


def test_a_bomb(tmp_path: Path) -> None:
    """A thousand times its own size."""
    bomb = zip_of([("train/good/0.png", bytes(20 * MOST))])
    assert len(bomb) < MOST / 10
    said = refused(tmp_path, bomb)
    assert "would unpack to 20,000,000 bytes, more than the 1,000,000 it may hold" in said
    assert not (tmp_path / "part").exists()


def test_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    """The directory says 10 bytes: no more than these are ever written."""
    bomb = zip_of([("train/good/0.png", bytes(20 * MOST))])
    lying = bomb.replace(struct.pack("<L", 20 * MOST), struct.pack("<L", 10))
    assert lying != bomb
    assert "not a whole zip" in refused(tmp_path, lying)
    written = [path.stat().st_size for path in (tmp_path / "part").rglob("*.png")]
    assert sum(written) <= 10


def test_too_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.data.fetch.archive.MOST_ENTRIES", 3)
    many = zip_of([(f"train/good/{number}.png", b"") for number in range(4)])
    assert "4 entries, more than 3" in refused(tmp_path, many)


def test_damage(tmp_path: Path) -> None:
    whole = zip_of([GOOD, ("train/good/1.png", os.urandom(5000))])
    assert "not a whole zip" in refused(tmp_path, b"<html>")
    assert "not a whole zip" in refused(tmp_path, b"")
    assert "not a whole zip" in refused(tmp_path, whole[:-30])
    at = whole.index(b"1.png") + 500
    assert "not a whole zip" in refused(tmp_path, whole[:at] + b"????" + whole[at + 4 :])


def test_kinds_of_packing_that_are_not_read(tmp_path: Path) -> None:
    whole = bytearray(zip_of([GOOD]))
    directory = whole.index(b"PK\x01\x02")
    whole[directory + 8] |= 1
    assert "is encrypted" in refused(tmp_path, bytes(whole))
    info = zipfile.ZipInfo(GOOD[0])
    info.compress_type = zipfile.ZIP_LZMA
    assert "not read here (14)" in refused(tmp_path, zip_of([(info, b"0")]))


def test_a_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        unpack(packed(tmp_path, zip_of([GOOD])), tmp_path / "part", MOST, stop=stop)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path, zip_of([("train/good/0.png", bytes(MOST))]))
    with mounted(tmp_path / "disk", "size=100k") as disk:
        with pytest.raises(OSError, match="No space left") as caught:
            unpack(path, disk / "part", MOST)
        assert caught.value.filename == str(disk / "part/train/good/0.png")
