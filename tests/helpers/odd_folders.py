"""Small data folders with something odd in them, drawn by hypothesis."""

from __future__ import annotations

import io
import json
import zlib
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from data_folders import CONFIG
from hypothesis import strategies as st
from PIL import Image

SIZE: Final = (32, 40)

_AUTOVI: Final = (
    "part/train/good/0.png",
    "part/train/good/1.png",
    "part/test/good/0.png",
    "part/test/dent/0.png",
    "part/test/dent/1.jpg",
    "part/ground_truth/dent/0/0000.png",
    "part/ground_truth/dent/0/0001.png",
    "part/ground_truth/dent/1/0000.png",
    "part/defects_config.json",
)
_MVTEC: Final = (
    "nut/train/good/000.png",
    "nut/train/good/001.png",
    "nut/test/good/000.png",
    "nut/test/crack/000.png",
    "nut/ground_truth/crack/000_mask.png",
)
_NO_MASKS: Final = ("bolt/train/good/0.png", "bolt/train/good/1.png", "bolt/test/nick/0.png")
_NAMES: Final = (
    *("train", "Train", "test", "TEST", "ground_truth", "Ground_Truth", "good", "Good", "part"),
    *("dent", "crack", "0", "1", "0.png", "0.jpg", "1.PNG", "000_mask.png", "0_mask.png", "a.txt"),
    *("@eaDir", "Thumbs.db", ".hidden", "defects_config.json", "validation", "link", "folder"),
)
_ODD: Final = ("bad:", "empty:", "two:", "pages:")
"""Before a path: a file that is damaged, a mask without a mark or of two grey values, two pages."""

Tree = frozenset[str]
"""Files by their paths; `link` leads nowhere, `folder` is an empty one."""


@st.composite
def odd_folders(draw: st.DrawFn) -> Tree:
    """A sound data folder of one to three categories, with up to three changes made to it."""
    parts = draw(st.lists(st.sampled_from((_AUTOVI, _MVTEC, _NO_MASKS)), min_size=1, unique=True))
    files = [path for part in parts for path in part]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(files) - 1, 0)))
        if not files:
            break
        names = list(PurePosixPath(files[at].rpartition(":")[2]).parts)
        level = draw(st.integers(0, len(names) - 1))
        above, name = names[:level], draw(st.sampled_from(_NAMES))
        match draw(st.sampled_from(("add", "add", "lose", "rename", "spoil", "nest"))):
            case "add":
                files.append("/".join([*above, name]))
            case "lose":
                gone = "/".join(names[: level + 1])
                files = [path for path in files if path != gone and f"{gone}/" not in path]
            case "rename":
                old, new = "/".join(names[: level + 1]) + "/", "/".join([*above, name]) + "/"
                files = [f"{path}/".replace(old, new).removesuffix("/") for path in files]
            case "spoil":
                files[at] = draw(st.sampled_from(_ODD)) + "/".join(names)
            case "nest":
                top = names[0]
                files = [f"{top}/{path}" if path.startswith(f"{top}/") else path for path in files]
    return frozenset(files)


def lay_out(tree: Tree, root: Path) -> None:
    """Write the files; of two that need the same name, the first in alphabetical order."""
    root.mkdir()
    for file in sorted(tree, key=lambda file: file.rpartition(":")[2]):
        kind, _, place = file.rpartition(":")
        path = root / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.name == "folder":
                path.mkdir()
            elif path.name == "link":
                path.symlink_to("nowhere")
            elif not path.exists():
                path.write_bytes(_content(kind, path.relative_to(root).as_posix()))
        except (FileExistsError, NotADirectoryError):
            continue


@cache
def _content(kind: str, place: str) -> bytes:
    if place.endswith(".json"):
        return b"[{}]" if kind == "bad" else json.dumps(CONFIG).encode()
    _, truth, below = place.lower().rpartition("ground_truth/")
    if truth and not below.startswith(("train/", "test/")):  # a category may be called so, too
        pixels = np.zeros(SIZE, dtype=np.uint8)
        pixels[2:4, 9:12] = 0 if kind == "empty" else 255
        pixels[8:10, 9:12] = 200 if kind == "two" else 0
    else:  # noise that occurs nowhere else
        pixels = np.random.default_rng(zlib.crc32(place.encode())).integers(
            0, 256, (*SIZE, 3), dtype=np.uint8
        )
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if kind == "pages":
        image.save(file, "TIFF", save_all=True, append_images=[image])
    else:
        image.save(file, "PNG")
    return file.getvalue()[:50] if kind == "bad" else file.getvalue()
