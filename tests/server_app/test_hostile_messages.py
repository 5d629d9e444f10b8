"""What a message may not bring: pickles, bombs, arrays and texts that nobody asked for."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from server_cases import survey

from common.protocol.messages import Received, ScoreReply, SurveyReply, as_sentence
from common.protocol.records import (
    ARRAYS,
    BANK,
    FACTS,
    MAX_FACTS_BYTES,
    MalformedReplyError,
    failure_record,
    read_facts,
    select_prefix,
    take_arrays,
    to_record,
)

ROWS = np.arange(12, dtype=np.float16).reshape(4, 3)


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def with_bytes(data: bytes, stype: str = "numpy.ndarray", name: str = f"{BANK}/shared") -> Any:
    """A message whose only array has these bytes, whatever they are."""
    content = to_record(Received(station="a", part=0))
    array = Array(dtype="float16", shape=(4, 3), stype=stype, data=data)
    content[ARRAYS] = ArrayRecord({name: array})
    return content


class Trap:
    """Runs as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    body = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY" + version + len(body).to_bytes(2, "little") + body


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", data)
    return file.getvalue()


def fields(shape: Any, descr: str = "<f2", fortran: bool = False) -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"


# ----------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("copy", [True, False])
def test_an_honest_array_comes_as_it_was_sent(copy: bool) -> None:
    empty = np.zeros((0, 3), np.float32)
    content = to_record(Received(station="a", part=0), {"bank/x": ROWS, "bank/y": empty})
    taken = take_arrays(content, names=["bank/x", "bank/y"], max_bytes=24 + 2 * 128, copy=copy)
    np.testing.assert_array_equal(taken["bank/x"], ROWS)
    assert taken["bank/x"].dtype == np.float16
    assert taken["bank/y"].shape == (0, 3)
    assert taken["bank/x"].flags.writeable is copy


@pytest.mark.parametrize("pack", [npy, lambda array: pickle.dumps(array.tolist()[0])])
def test_no_pickle_is_ever_opened(pack: Any, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    data = pack(np.array([Trap(trap)], dtype=object))
    with pytest.raises(MalformedReplyError, match="bank/shared"):
        take_arrays(with_bytes(data))
    assert not trap.exists()
    # The trap works: whoever unpickles it springs it.
    np.load(io.BytesIO(npy(np.array([Trap(trap)], dtype=object))), allow_pickle=True)
    assert trap.exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not in NumPy's format"),
        (zipped(npy(ROWS)), "not in NumPy's format"),
        (npy(ROWS)[:-1], "23 bytes, its header says 24"),
        (npy(ROWS) + b"x", "25 bytes, its header says 24"),
        # A petabyte by its header: nothing is allocated before the sizes agree.
        (header(fields((10**12, 3))) + b"abc", f"3 bytes, its header says {6 * 10**12}"),
        (header(fields((-4, -6))) + b"x" * 48, "its header says 48"),
        (header(fields((4, 3), fortran=True)) + b"x" * 24, "its header says 24 in rows"),
        (header(fields((4,), "<U6")) + b"x" * 96, "dtype <U6, expected numbers"),
        (header(fields((4,), "<M8[s]")) + b"x" * 32, "expected numbers"),
        (header(fields((4,), "|V6")) + b"x" * 24, "expected numbers"),
        (header(fields((4,), "<c8")) + b"x" * 32, "expected numbers"),
        (header("{'descr': __import__('os').getcwd(), 'shape': (1,)}"), "cannot be read"),
        (header(fields((4, 3)), b"\x09\x00") + b"x" * 24, "cannot be read"),
        (b"\x93NUMPY", "cannot be read"),
    ],
)
def test_bytes_that_are_not_what_they_say(data: bytes, says: str) -> None:
    with pytest.raises(MalformedReplyError) as error:
        take_arrays(with_bytes(data))
    assert says in str(error.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read_never_more(data: bytes) -> None:
    for whole in (data, npy(ROWS)[:40] + data, header(fields((4, 3))) + data):
        try:
            taken = take_arrays(with_bytes(whole))
        except MalformedReplyError:
            continue
        assert taken["bank/shared"].nbytes <= len(whole)


def test_another_serialization_than_numpys_is_refused() -> None:
    with pytest.raises(MalformedReplyError, match="not in NumPy's format"):
        take_arrays(with_bytes(npy(ROWS), stype="pickle"))


def test_more_arrays_fewer_arrays_or_others_than_asked_for() -> None:
    for arrays in ({"bank/a": ROWS, "bank/b": ROWS}, {}, {"bank/c": ROWS}, {"other/a": ROWS}):
        content = to_record(Received(station="a", part=0), arrays)
        with pytest.raises(MalformedReplyError, match=r"asked for \['bank/a'\]"):
            take_arrays(content, names=["bank/a"])
    with pytest.raises(MalformedReplyError, match=r"\['x/a'\], expected only bank/"):
        select_prefix(BANK, {"bank/a": ROWS, "x/a": ROWS})


def test_too_many_bytes_are_refused_before_any_is_decoded() -> None:
    # Not even an array by its first bytes: had it been looked at, the error were another one.
    with pytest.raises(MalformedReplyError, match="arrays of 1001 bytes, at most 1000 were asked"):
        take_arrays(with_bytes(b"x" * 1001), max_bytes=1000)


def test_records_that_nobody_knows_are_refused() -> None:
    content = to_record(Received(station="a", part=0))
    content["more"] = ConfigRecord({"x": 1})
    with pytest.raises(MalformedReplyError, match=r"unknown record \['more'\]"):
        take_arrays(content)


def test_long_names_are_cut_in_what_is_said() -> None:
    with pytest.raises(MalformedReplyError) as error:
        take_arrays(with_bytes(npy(ROWS), name="n" * 100_000), names=["bank/a"])
    assert len(str(error.value)) < 1000


# ------------------------------------------------------------------------------------ facts


def facts(text: str) -> RecordDict:
    return RecordDict({FACTS: ConfigRecord({"json": text})})


def survey_json(**changes: Any) -> str:
    return json.dumps({**json.loads(survey("a").model_dump_json()), **changes})


def category_json(**changes: Any) -> str:
    told = json.loads(survey("a").model_dump_json())["categories"]["screw"]
    return survey_json(categories={"screw": {**told, **changes}})


SIZE = {"height": 8, "width": 8, "images": 10}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (" " * (MAX_FACTS_BYTES + 1), "characters, at most"),
        ("[" * 100_000, "SurveyReply"),
        ('{"a":' * 50_000, "SurveyReply"),
        (survey_json(station="../../etc/passwd"), "station"),
        (survey_json(station="/etc/passwd"), "station"),
        (survey_json(station="a\n"), "station"),
        (survey_json(station="x" * 65), "station"),
        (survey_json(station=""), "station"),
        (survey_json(host="h" * 256), "host"),
        (survey_json(host="\x1b[2J"), "host"),
        (survey_json(notices=["x" * 2001]), "notices"),
        (survey_json(notices=["x"] * 101), "notices"),
        (survey_json(notices=["a\x1b]0;title\x07"]), "notices"),
        (survey_json(categories={"../x": SIZE}), "categories"),
        (survey_json(categories={"a/b": SIZE}), "categories"),
        (survey_json(categories={"x" * 101: SIZE}), "categories"),
        (survey_json(feature_dim=10**9), "feature_dim"),
        (survey_json(real="yes"), "real"),
        (survey_json(more=1), "more"),
        (category_json(images=-1), "images"),
        (category_json(images=10**8), "images"),
        (category_json(images=10.0), "images"),
        (category_json(test=-1), "test"),
        (category_json(held_out=-1), "held_out"),
        (category_json(patches=-1), "patches"),
        (category_json(patches=10**13), "patches"),
        (category_json(sizes=[{**SIZE, "height": 0}]), "height"),
        (category_json(sizes=[{**SIZE, "width": 10**6}]), "width"),
        (category_json(sizes=[{**SIZE, "images": 0}]), "images"),
        (category_json(sizes=[SIZE] * 10_001), "sizes"),
    ],
    ids=lambda value: value[:60] if len(value) > 60 else None,
)
def test_facts_that_the_protocol_does_not_allow(text: str, where: str) -> None:
    with pytest.raises(MalformedReplyError) as error:
        read_facts(facts(text), SurveyReply)
    assert where in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("score", ["NaN", "Infinity", "-Infinity", "-0.5", '"1"', "null"])
def test_held_out_scores_are_distances(score: str) -> None:
    text = (
        '{"station": "a", "categories": {"clip": {"test": 0, "held_out_scores": [1.0, %s]}}, '
        '"without_bank": [], "radius": {}, "seconds": 1.0, "extracted": 0}'
    )
    assert read_facts(facts(text % "2.5"), ScoreReply).categories["clip"].held_out_scores[1] == 2.5
    with pytest.raises(MalformedReplyError, match="held_out_scores"):
        read_facts(facts(text % score), ScoreReply)


def test_a_failure_is_one_line_whatever_it_says() -> None:
    content = failure_record("no-images", "first\nsecond\x1b[31m" + "x" * 5000)
    text = json.loads(str(content.config_records["failure"]["json"]))["reason"]
    assert text.startswith("first second [31mx")
    assert len(text) == 2000
    assert as_sentence("  a \t b\r\n") == "a b"
