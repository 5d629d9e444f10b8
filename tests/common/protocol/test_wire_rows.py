"""Rows as one byte a number: exactly decoded, part by part, within the bound that is stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.patchcore.row_format import SCALE_ROWS, row_dtype, settle
from common.protocol.wire_rows import from_wire, to_wire


def make_rows(seed: int, scale: float, negative: bool) -> NDArray[np.float16]:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((rng.integers(1, 40), 7)) * rng.uniform(0, 1, 7) ** 3 * scale
    rows[:, 3] = 0
    return np.clip(rows if negative else np.abs(rows), -65504, 65504).astype(np.float16)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 999),
    scale=st.sampled_from([1e-8, 1e-4, 1.0, 300.0, 1e5]),
    negative=st.booleans(),
    cut=st.integers(0, 40),
)
def test_settled_rows_travel_exactly_whole_and_in_parts(
    seed: int, scale: float, negative: bool, cut: int
) -> None:
    rows = make_rows(seed, scale, negative)
    settled = settle(rows, "int8")
    assert settled.dtype == np.float16
    assert np.isfinite(settled).all()
    levels = 127 if (rows < 0).any() else 255
    peak = np.abs(rows.astype(np.float64)).max(axis=0)
    bound = np.maximum(peak / levels, 2.0**-25)
    if peak.max() < 60_000:  # beyond, the last level of float16 costs one more half step
        error = np.abs(settled.astype(np.float64) - rows.astype(np.float64))
        assert (error <= bound).all()
    np.testing.assert_array_equal(settle(settled, "int8"), settled)
    for part in (settled, settled[:cut], settled[cut:]):
        sent = to_wire({"one": part}, "int8")["one"]
        assert (sent.dtype, sent.shape) == (np.int8, (SCALE_ROWS + len(part), 7))
        np.testing.assert_array_equal(from_wire({"one": sent}, "int8")["one"], part)


def test_worked_example() -> None:
    # Largest 10 and 510: 10 / 255 lies below 2^-4 = 0.0625, 510 / 255 = 2 is a power itself.
    rows = np.array([[10.0, 510.0], [0.1, 3.1]], dtype=np.float32)
    sent = to_wire({"bank": rows}, "int8")["bank"]
    assert sent[0].tolist() == [-4, 1]
    assert sent[1].tolist() == [-128, -128]
    # 10 / 0.0625 = 160, 0.1 / 0.0625 = 1.6 -> 2; 510 / 2 = 255, 3.1 / 2 = 1.55 -> 2.
    assert (sent[2:].astype(int) + 128).tolist() == [[160, 255], [2, 2]]
    assert from_wire({"bank": sent}, "int8")["bank"].tolist() == [[10, 510], [0.125, 4]]


def test_other_formats_are_the_rows_themselves() -> None:
    rows = make_rows(0, 1.0, True)
    for name in ("float16", "float32"):
        assert row_dtype(name) == np.dtype(name)
        assert settle(rows, name).dtype == np.dtype(name)
        assert to_wire({"a": rows}, name)["a"] is rows
        assert from_wire({"a": rows}, name)["a"] is rows
    assert row_dtype("int8") == np.float16


@pytest.mark.parametrize(
    "sent",
    [np.zeros((4, 3), np.float16), np.zeros(4, np.int8), np.zeros((1, 3), np.int8)],
    ids=["dtype", "one dimension", "no scales"],
)
def test_what_is_not_encoded_rows_is_refused(sent: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match=r"bank 'a'.*expected int8"):
        from_wire({"a": sent}, "int8")


def test_a_hostile_scale_decodes_to_what_the_next_check_refuses() -> None:
    sent = np.full((3, 2), 100, dtype=np.int8)
    sent[1] = 0
    assert np.isinf(from_wire({"a": sent}, "int8")["a"]).all()
