"""Files appear whole, follow the umask, and what the system refuses names them."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest
from machine_cases import fill, mounted

from common.errors import explained, reason
from common.system.files import replacing, require_writable, write_whole


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        write_whole(disk / "a.txt", "old")
        fill(disk)
        with pytest.raises(OSError, match="No space") as caught:
            write_whole(disk / "a.txt", "new" * 10_000)
        assert explained(caught.value) == (
            f"{disk / 'a.txt'}: the disk is full; make room on it, or give a folder on another disk"
        )
        assert (disk / "a.txt").read_text() == "old"
        assert sorted(path.name for path in disk.iterdir()) == ["a.txt", "filler"]


def test_a_name_of_full_length_can_be_written_whole(tmp_path: Path) -> None:
    """A derived name that is longer than its source."""
    name = "x" * 255
    write_whole(tmp_path / name, "kept")
    assert (tmp_path / name).read_text() == "kept"


def test_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with replacing(tmp_path / "deep/a", durable=True) as file:
            file.write(b"1")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "deep/a").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["full", "read-only", "file", "long", "missing"])
def test_whether_a_folder_can_be_written_is_known_before(tmp_path: Path, kind: str) -> None:
    """An `--out` that cannot be written."""
    if kind == "missing":
        require_writable(tmp_path / "a/b/c")
        assert list(tmp_path.iterdir()) == []  # nothing is left of the trial
        return
    if kind == "long":
        with pytest.raises(OSError, match="too long") as long:
            require_writable(tmp_path / "new" / ("x" * 256))
        assert "the name is too long" in explained(long.value)
        assert list(tmp_path.iterdir()) == []
        return
    if kind == "file":
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError) as file:
            require_writable(tmp_path / "file/out")
        assert "a file is where a folder is needed" in explained(file.value)
        return
    options = {"full": ["size=16k"], "read-only": ["size=16k", "ro"]}[kind]
    with mounted(tmp_path / "disk", *options) as disk:
        if kind == "full":
            fill(disk)
        with pytest.raises(OSError) as caught:
            require_writable(disk)
        expected = {"full": errno.ENOSPC, "read-only": errno.EROFS}[kind]
        assert caught.value.errno == expected
        assert explained(caught.value).startswith(f"{disk}")


def test_a_copy_that_fails_is_explained_by_its_first_file(tmp_path: Path) -> None:
    """A full disk under `add`, which keeps the old model by copying it."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/rows").write_bytes(bytes(200_000))
    with mounted(tmp_path / "disk", "size=64k") as disk:
        with pytest.raises(shutil.Error) as caught:
            shutil.copytree(tmp_path / "model", disk / "copy")
        assert reason(caught.value) == (
            f"{disk / 'copy/rows'}: the disk is full; make room on it, or give a folder on "
            "another disk"
        )


def test_every_usual_refusal_has_words_of_its_own() -> None:
    said = {
        code: explained(OSError(code, os.strerror(code), "/some/file"))
        for code in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EFBIG,
            errno.EROFS,
            errno.ENAMETOOLONG,
            errno.EBUSY,
            errno.EIO,
            errno.ESTALE,
            errno.EMFILE,
            errno.ELOOP,
            errno.ENOTDIR,
            errno.EACCES,
        )
    }
    assert len(set(said.values())) == len(said)
    assert all(text.startswith("/some/file: ") and "; " in text for text in said.values())
    # 99999 is no error number of any system: what it says itself is passed on.
    assert explained(OSError(99999, "odd", "/f")) == "/f: odd"
