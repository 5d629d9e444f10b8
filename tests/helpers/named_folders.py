"""Data folders whose every name is drawn, and their twins with plain names in the same order."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from common.data.images import natural_key
from common.data.leftovers import is_leftover
from common.data.names import normal, refusal

_LETTERS = st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co", "Cf", "Zl", "Zp"])
_ODD = st.sampled_from([*"[]()-.'\" $#&;%{}:!~@+=,", "é", "ü", "ﬁ", "Å", "部", "0", "10", "😀"])
_RESERVED = ("train", "test", "ground_truth", "good")


def _fits(name: str) -> bool:
    usable = len(os.fsencode(name)) <= 255 and refusal(normal(name)) is None
    return usable and not is_leftover(name) and name.lower() not in _RESERVED


FOLDERS = (
    st.tuples(
        st.lists(st.one_of(_LETTERS, _ODD), min_size=1, max_size=12).map("".join),
        st.sampled_from(["NFC", "NFD"]),
        st.sampled_from([1, 1, 8, 20]),
    )
    .map(lambda drawn: unicodedata.normalize(drawn[1], drawn[0]) * drawn[2])
    .filter(_fits)
)
STEMS = (
    st.one_of(
        FOLDERS,
        st.binary(min_size=1, max_size=246).map(lambda raw: raw.translate(None, b"/\0")),
    )
    .map(lambda name: os.fsencode(name)[:246] if isinstance(name, str) else name)
    .filter(lambda raw: bool(raw) and not is_leftover(os.fsdecode(raw)))
    .map(os.fsdecode)
)


@dataclass(frozen=True)
class Named:
    """Two categories with four good training, one good and one defective test image each."""

    categories: tuple[str, str]
    defect: str
    stems: tuple[str, str, str, str]
    root: str
    out: str

    def lay_out(self, home: Path) -> Path:
        """Write it below a folder; the pictures go by the order of the names alone."""
        for kind, category in enumerate(sorted(self.categories, key=natural_key)):
            place = home / self.root / category
            for number, stem in enumerate(sorted(self.stems, key=_file_key)):
                _picture(place / "train/good" / f"{stem}.png", 10 * kind + number)
            _picture(place / "test/good" / f"{self.stems[0]}.png", 10 * kind + 5)
            defective = _picture(
                place / "test" / self.defect / f"{self.stems[1]}.png", 10 * kind + 6
            )
            mask = place / "ground_truth" / self.defect / f"{defective.stem}_mask.png"
            mask.parent.mkdir(parents=True)
            marked = np.zeros((32, 40), np.uint8)
            marked[4:12, 20:30] = 255
            Image.fromarray(marked).save(mask)
        return home / self.root

    def twin(self) -> tuple[Named, dict[str, str]]:
        """The same with plain names in the same order, and which category is called how there."""
        first, second = sorted(map(normal, self.categories), key=natural_key)
        # By number and by letter may be two orders; a run uses both.
        plain = ("a", "b") if first < second else ("p2", "p10")
        stems = ("000", "001", "002", "003")
        called: Any = dict(zip((first, second), plain, strict=True))
        return Named(plain, "crack", stems, "data", "out"), called


@st.composite
def named_folders(draw: st.DrawFn) -> Named:
    categories = st.lists(FOLDERS, min_size=2, max_size=2, unique_by=normal)
    stems = st.lists(STEMS, min_size=4, max_size=4, unique_by=normal)
    return Named(
        tuple(draw(categories)), draw(FOLDERS), tuple(draw(stems)), draw(FOLDERS), draw(FOLDERS)
    )


def _file_key(stem: str) -> Any:
    """Files go by their whole names: `a.b.png` before `a.png`."""
    return natural_key(f"{stem}.png")


def _picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
