"""Names made from names, and paths as text: whatever a file system allows can be written down."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from common.paths import beside, derived_name, given_path, json_text, path_text

FILE_NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@given(FILE_NAMES, st.sampled_from(["", ".png", ".123456.partial"]), st.sampled_from(["", "."]))
def test_a_derived_name_fits_and_keeps_its_ending(raw: bytes, ending: str, prefix: str) -> None:
    """Derived names longer than their source."""
    name = os.fsdecode(raw)
    made = derived_name(name, ending, prefix)
    assert len(os.fsencode(made)) <= 255
    assert made.startswith(prefix)
    assert made.endswith(ending)
    assert made == derived_name(name, ending, prefix)
    if len(prefix) + len(raw) + len(ending) <= 255:
        assert made == prefix + name + ending


def test_two_long_names_that_begin_alike_stay_apart(tmp_path: Path) -> None:
    one, other = (tmp_path / ("ä" * 120 + "x" * 14 + last) for last in "ab")
    made = {beside(path, ".partial") for path in (one, other)}
    assert len(made) == 2
    for path in made:
        path.touch()


@given(FILE_NAMES)
def test_a_name_of_any_bytes_is_text_that_can_be_written(raw: bytes) -> None:
    """Surrogates written strictly."""
    text = path_text(os.fsdecode(raw))
    text.encode()
    if "�" not in raw.decode("utf-8", "replace"):
        assert text == raw.decode()
    written = json_text({os.fsdecode(raw): [os.fsdecode(raw), 1, None]})
    assert json.loads(written.encode()) == {text: [text, 1, None]}


def test_half_a_pair_from_a_json_file_can_be_written_too() -> None:
    assert path_text("\ud83d") == r"\ud83d"


def test_a_path_is_made_whole_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths expanded in some layers only."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given_path(".") == tmp_path / "real"
    assert given_path("..") == tmp_path
    assert given_path("~/x") == tmp_path / "x"
    assert given_path(tmp_path / "link") == tmp_path / "link"
    assert given_path("../link/../x") == tmp_path / "x"
    with pytest.raises(InputError, match="home folder"):
        given_path("~nobody-of-this-name/x")
