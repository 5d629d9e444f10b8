"""Thresholds keep the rate they promise; kinds come from AutoVI or from the user."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from common.evaluation.kinds import anomaly_kind, read_kinds
from common.evaluation.thresholds import calibrate_threshold


@pytest.mark.parametrize(
    ("n", "target", "rank", "promised"),
    [
        (19, 0.05, 1, 1 / 20),  # 0.05 * 20 = 1: just supported
        (18, 0.05, 1, 1 / 19),  # 0.05 * 19 < 1: the highest score, promising more than the target
        (99, 0.05, 5, 5 / 100),
        (9, 0.3, 3, 3 / 10),
        (1, 0.05, 1, 1 / 2),
        (3, 0.99, 3, 3 / 4),  # never below the lowest score
    ],
)
def test_rank_and_promise(n, target, rank, promised):
    scores = np.arange(n, dtype=float)
    threshold = calibrate_threshold(np.random.default_rng(0).permutation(scores), target)
    assert threshold.value == n - rank
    assert threshold.promised_false_alarm_rate == pytest.approx(promised)
    assert threshold.held_out_images == n
    assert (threshold.promised_false_alarm_rate > target) == ("cannot support" in threshold.note)


def test_note_says_how_many_images_are_needed():
    assert "19 images would be needed" in calibrate_threshold([1.0, 2.0], 0.05).note
    assert "1 held-out good image " in calibrate_threshold([1.0], 0.05).note


def test_note_gives_the_average_and_the_bound_for_one_draw():
    """n scores, the highest is the threshold: the bound u has (1 - u)^n = 0.05."""
    for n, average, bound in ((8, "11.1 %", "31.2 %"), (19, "5 %", "14.6 %")):
        threshold = calibrate_threshold(np.arange(n), 0.05)
        assert threshold.upper_false_alarm_rate == pytest.approx(1 - 0.05 ** (1 / n))
        assert f"at most {average} of new good parts on average" in threshold.note
        assert f"by bad luck up to {bound} (95% confidence)" in threshold.note


def test_nothing_held_out_is_no_threshold():
    assert calibrate_threshold([], 0.05) is None


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, float("nan")])
def test_refuses_a_target_that_is_no_rate(target):
    with pytest.raises(ValueError, match="target false alarm rate"):
        calibrate_threshold([1.0], target)
    with pytest.raises(ValueError, match="not finite"):
        calibrate_threshold([1.0, np.nan], 0.05)


@given(
    st.lists(st.integers(0, 6).map(float), min_size=2, max_size=12),
    st.floats(0.01, 0.99),
)
def test_promise_holds_when_every_image_takes_its_turn_as_the_new_one(scores, target):
    """Exchangeability made finite: leave each image out once, and count the false alarms."""
    alarms = 0
    for position, score in enumerate(scores):
        threshold = calibrate_threshold(scores[:position] + scores[position + 1 :], target)
        alarms += score > threshold.value
    assert alarms / len(scores) <= threshold.promised_false_alarm_rate + 1e-12


def test_kinds():
    logical = {"fastening", "blue_hoop", "missing"}
    assert {name for name in logical if anomaly_kind(name) == "logical"} == logical
    assert anomaly_kind("obstruction") == "structural"
    assert anomaly_kind("broken_large") == "unknown"
    assert anomaly_kind("broken_large", {"broken_large": "structural"}) == "structural"
    assert anomaly_kind("missing", {"missing": "structural"}) == "structural"
    with pytest.raises(ValueError, match="expected structural or logical"):
        anomaly_kind("dent", {"dent": "odd"})


def test_table_of_kinds(tmp_path):
    table = tmp_path / "kinds.yaml"
    table.write_text("dent: structural\nwrong_part: logical\n")
    assert read_kinds(table) == {"dent": "structural", "wrong_part": "logical"}
    table.write_text('{"dent": "structural"}')
    assert read_kinds(table) == {"dent": "structural"}
    for content in ("dent: odd\n", "- dent\n", "a: [", "1: logical\n"):
        table.write_text(content)
        with pytest.raises(InputError, match=r"kinds\.yaml"):
            read_kinds(table)
    with pytest.raises(InputError, match="cannot be read"):
        read_kinds(tmp_path / "none.yaml")
