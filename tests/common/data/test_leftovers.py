"""What systems leave behind is nobody's data, whichever command walks the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_folders import autovi, mvtec, picture

from common.check import check_folder
from common.data.layout import index_data
from common.data.leftovers import is_leftover

LEFTOVERS = (
    *(".DS_Store", "._0.png", ".AppleDouble", ".@__thumb", ".Trash-1000", ".directory"),
    *("@eaDir", "#recycle", "#snapshot", "@Recycle", "__MACOSX", "lost+found", "Icon\r"),
    *("Thumbs.db", "THUMBS.DB", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "Desktop.ini"),
    *("$RECYCLE.BIN", "$Recycle.Bin", "System Volume Information", "~$parts.xlsx", "~snapshot"),
)
DATA = ("good", "0.png", "thumb.png", "Thumbs", "recycle", "lost", "trash", "~0.png", "$0.png")


@pytest.mark.parametrize("name", LEFTOVERS)
def test_left_behind(name: str) -> None:
    assert is_leftover(name)


@pytest.mark.parametrize("name", DATA)
def test_not_left_behind(name: str) -> None:
    assert not is_leftover(name)


def test_the_index_and_the_check_pass_over_it_everywhere(tmp_path: Path) -> None:
    autovi(tmp_path, "clip")
    mvtec(tmp_path, "nut")
    before, checked = index_data(tmp_path), check_folder(tmp_path)
    for folder in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        for name in ("@eaDir", "#recycle", "lost+found"):
            picture(folder / name / "0.png", seed=len(str(folder)))
        for name in ("Thumbs.db", "DESKTOP.INI", "~$0.png", "._0.png"):
            (folder / name).write_bytes(b"x")
    assert index_data(tmp_path) == before
    assert check_folder(tmp_path) == checked
