"""What a category may be called: one rule for the walk, `check` and the messages."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from data_folders import autovi, mvtec
from pydantic import TypeAdapter, ValidationError

from common.check import check_folder
from common.data.layout import index_data
from common.data.names import refusal
from common.errors import InputError
from common.protocol.messages import BankName, CategoryName

GOOD_NAMES = (
    "nut [m8]",
    "Tür",
    "部品",
    "-x",
    "a.b",
    "nut ",
    "かめら　2",
    "x" * 255,
    "shared",
    "mean",
)
BAD_NAMES = ("a\\b", "a\tb", "a\x1b[31m", "a\u202eb", "a\u2028b", os.fsdecode(b"a\xff"))


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_printable_name_is_taken_by_all(name: str, tmp_path: Path) -> None:
    """Wire rules unknown to the front end."""
    mvtec(tmp_path, name)
    index = index_data(tmp_path)
    assert list(index.categories) == [name]
    assert not [one for one in check_folder(tmp_path).findings if one.kind == "unusable-name"]
    assert TypeAdapter(CategoryName).validate_python(name) == name
    assert TypeAdapter(BankName).validate_python(f"{name}/") == f"{name}/"


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("place", ["category", "defect type"])
def test_another_name_is_refused_before_anything_starts(
    name: str, place: str, tmp_path: Path
) -> None:
    """Wire rules unknown to the front end."""
    home = mvtec(tmp_path, name if place == "category" else "part")
    if place == "defect type":
        (home / "test/crack").rename(home / "test" / name)
        (home / "ground_truth/crack").rename(home / "ground_truth" / name)
    with pytest.raises(InputError, match="rename it"):
        index_data(tmp_path)
    kinds = [one.kind for one in check_folder(tmp_path).findings if one.severity == "error"]
    assert kinds == ["unusable-name"]
    assert refusal(name)
    with pytest.raises(ValidationError):
        TypeAdapter(CategoryName).validate_python(name)


def test_names_in_two_spellings_are_one(tmp_path: Path) -> None:
    """Wire rules unknown to the front end: macOS decomposes what others compose."""
    composed, decomposed = (unicodedata.normalize(form, "Tür-é") for form in ("NFC", "NFD"))
    home = autovi(tmp_path, decomposed)
    for folder in ("test/dent", "ground_truth/dent"):
        (home / folder).rename((home / folder).with_name(composed))
    image = home / "test" / composed / "0.png"
    image.rename(image.with_name(f"{composed}.png"))
    truth = home / "ground_truth" / composed / "0"
    truth.rename(truth.with_name(decomposed))
    index = index_data(tmp_path, [composed])
    assert list(index.categories) == [composed]
    assert {one.defect_type for one in index.samples} == {"good", composed, "hole"}
    assert all(one.masks for one in index.samples if one.label)
    mvtec(tmp_path, composed)
    with pytest.raises(InputError, match="another Unicode spelling"):
        index_data(tmp_path)
    assert "same-name" in [one.kind for one in check_folder(tmp_path).findings]
