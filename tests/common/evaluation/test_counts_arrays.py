"""Counts that are split, merged, sent and received; and arrays that must not be believed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation_cases import make_shots, shots_strategy
from evaluation_twin import add_all
from hypothesis import given, settings
from hypothesis import strategies as st

from common.evaluation.mergeable.checks import MAX_PIXELS
from common.evaluation.mergeable.counts import EvaluationCounts
from common.evaluation.mergeable.histogram import (
    BIN_BITS,
    Histogram,
    add_histograms,
    count_scores,
    pixels_up_to_saturation,
    score_bins,
)


def same_arrays(left, right):
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def same_results(left, right):
    """Bitwise: repr shows every digit of a float64."""
    for one, other in zip(
        [left.overall, *left.per_defect_type.values(), *left.per_anomaly_kind.values()],
        [right.overall, *right.per_defect_type.values(), *right.per_anomaly_kind.values()],
        strict=True,
    ):
        for name in ("auc_spro", "pixel_auc_roc", "auc_roc", "average_precision", "counts"):
            assert repr(getattr(one, name)) == repr(getattr(other, name))
        assert repr(one.auc_error_bound) == repr(other.auc_error_bound)
        if one.curve is not None:
            np.testing.assert_array_equal(one.curve.mean_spro, other.curve.mean_spro)


@settings(max_examples=40, deadline=None)
@given(shots_strategy, st.randoms(use_true_random=False), st.integers(1, 4))
def test_merged_in_any_order_and_grouping_is_the_same_as_at_once(shots, random, n_stations):
    at_once = add_all(EvaluationCounts(), shots)
    shuffled = list(shots)
    random.shuffle(shuffled)
    stations = [
        add_all(EvaluationCounts(), shuffled[start::n_stations]) for start in range(n_stations)
    ]
    while len(stations) > 1:  # any two neighbours first: every way to set the brackets
        position = random.randrange(len(stations) - 1)
        other = stations.pop(position + 1)
        assert stations[position].merge(other) is stations[position]
    same_arrays(stations[0].to_arrays(), at_once.to_arrays())
    same_results(stations[0].compute(), at_once.compute())


@settings(max_examples=40, deadline=None)
@given(shots_strategy)
def test_sent_and_received_is_the_same(shots):
    counts = add_all(EvaluationCounts(), shots)
    arrays = counts.to_arrays()
    received = EvaluationCounts.from_arrays(arrays)
    same_arrays(received.to_arrays(), arrays)
    same_results(received.compute(), counts.compute())
    assert counts.nbytes == sum(array.nbytes for array in arrays.values())
    # What was received can be added to, and merging leaves the other side as it was.
    add_all(EvaluationCounts(), shots).merge(received)
    same_arrays(received.to_arrays(), arrays)


def test_merging_with_itself_counts_twice():
    counts = add_all(EvaluationCounts(), make_shots(0, 2, 3, "ties"))
    once = counts.compute().overall
    twice = counts.merge(counts).compute().overall
    assert twice.counts == {name: 2 * count for name, count in once.counts.items()}
    assert twice.auc_spro == pytest.approx(once.auc_spro)


def test_images_without_masks_travel():
    shots = make_shots(4, 2, 3, "ties", masks=False) + make_shots(5, 1, 3, "smooth")
    counts = add_all(EvaluationCounts(), shots)
    received = EvaluationCounts.from_arrays(counts.to_arrays())
    assert received.compute().overall.counts["images_without_masks"] == 5
    same_results(received.compute(), counts.compute())


def changed(arrays, name, value):
    return {**arrays, name: value}


def with_first(array, value, dtype=None):
    copy = array.astype(dtype or array.dtype)
    copy[0] = value
    return copy


def with_header(arrays, **entries):
    content = json.loads(arrays["header"].tobytes()) | entries
    return changed(arrays, "header", np.frombuffer(json.dumps(content).encode(), dtype=np.uint8))


MALFORMED = {
    "lack the arrays": lambda a: {name: a[name] for name in a if name != "header"},
    "extra \\['pickle'\\]": lambda a: changed(a, "pickle", a["header"]),
    "one dimension": lambda a: changed(a, "normal_count", a["normal_count"][None]),
    "not unsigned integer": lambda a: changed(
        a, "normal_count", a["normal_count"].astype(np.int64)
    ),
    "not float64": lambda a: changed(a, "images_score", a["images_score"].astype(np.float32)),
    "header is not JSON": lambda a: changed(a, "header", a["header"][:-1]),
    "lacks format": lambda a: changed(a, "header", np.frombuffer(b"[]", dtype=np.uint8)),
    "update the older": lambda a: with_header(a, bin_bits=BIN_BITS - 1),
    "not a list of names": lambda a: with_header(a, type_sets=[[7]]),
    "list of at most": lambda a: with_header(a, type_sets=None),
    "unsorted or names a type twice": lambda a: with_header(a, type_sets=[["b", "a"]]),
    "listed twice": lambda a: with_header(a, type_sets=[["a"], ["a"]]),
    "differ in length": lambda a: changed(a, "images_label", a["images_label"][1:]),
    "score is not finite": lambda a: changed(
        a, "images_score", with_first(a["images_score"], np.nan)
    ),
    "images_set refers to": lambda a: changed(a, "images_set", with_first(a["images_set"], 99)),
    "value other than 0 and 1": lambda a: changed(
        a, "images_label", with_first(a["images_label"], 2)
    ),
    "label and defect types contradict": lambda a: changed(
        a, "images_label", with_first(a["images_label"], 1)
    ),
    "saturation area is below 1": lambda a: changed(
        a, "regions_saturation", with_first(a["regions_saturation"], 0)
    ),
    "normal_size does not add up": lambda a: changed(
        a, "normal_size", with_first(a["normal_size"], 3)
    ),
    "bins of a normal histogram do not ascend": lambda a: changed(
        a, "normal_step", a["normal_step"] * 0
    ),
    "bin of regions is not below": lambda a: changed(
        a, "regions_first", with_first(a["regions_first"], 2**BIN_BITS)
    ),
    "bin of normal is not below": lambda a: changed(
        a, "normal_first", with_first(a["normal_first"], 2**BIN_BITS - 1)
    ),
    "holds no pixel": lambda a: changed(a, "normal_count", with_first(a["normal_count"], 0)),
    "holds a number above": lambda a: changed(
        a, "normal_count", with_first(a["normal_count"], MAX_PIXELS + 1, np.uint64)
    ),
    "holds more than": lambda a: changed(
        a, "normal_count", np.full(a["normal_count"].size, MAX_PIXELS // 2, dtype=np.uint64)
    ),
    "two normal histograms have the same": lambda a: changed(a, "normal_set", a["normal_set"] * 0),
    "types that no masked image has": lambda a: changed(
        a, "images_has_masks", a["images_has_masks"] * 0
    ),
    "not exactly one defect type": lambda a: changed(a, "regions_set", a["regions_set"] * 0),
    "do not fit its regions": lambda a: changed(
        a, "anomalous_first", with_first(a["anomalous_first"], 1)
    ),
    "more pixels than its type": lambda a: changed(
        a, "regions_count", (a["regions_count"] + np.uint64(1000)).astype(np.uint64)
    ),
}


@pytest.mark.parametrize("reason", MALFORMED)
def test_malformed_arrays_are_refused(reason):
    shots = make_shots(0, 2, 6, "smooth")
    arrays = add_all(EvaluationCounts(), shots).to_arrays()
    EvaluationCounts.from_arrays(arrays)
    with pytest.raises(ValueError, match=reason):
        EvaluationCounts.from_arrays(MALFORMED[reason](arrays))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_change_of_one_number_is_refused_or_computes(data):
    arrays = add_all(EvaluationCounts(), make_shots(0, 2, 4, "ties")).to_arrays()
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name].copy()
    position = data.draw(st.integers(0, array.size - 1))
    array[position] = data.draw(st.integers(0, 255))
    try:
        counts = EvaluationCounts.from_arrays({**arrays, name: array})
    except ValueError:
        return
    result = counts.compute().overall
    assert all(0 <= value <= 1 + 1e-12 for value in result.auc_spro.values())


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_bins_are_ordered_as_the_scores(values):
    scores = np.sort(np.array(values, dtype=np.float32) + np.float32(0))
    bins = score_bins(scores)
    assert (np.diff(bins.astype(np.int64)) >= 0).all()
    assert bins.max() < 2**BIN_BITS
    histogram = count_scores(scores)
    expected, counts = np.unique(bins, return_counts=True)
    np.testing.assert_array_equal(histogram.bins, expected)
    np.testing.assert_array_equal(histogram.counts, counts)


def test_a_bin_is_one_part_in_2048_wide():
    one = np.array([1.0, 1 + 0.99 / 2048, 1 + 1 / 2048, -1.0], dtype=np.float32)
    bins = score_bins(one).astype(int)
    assert bins[0] == bins[1] == bins[2] - 1
    assert bins[3] < bins[0]


def test_saturation_takes_the_highest_pixels():
    region = Histogram(np.array([3, 5, 9], np.uint32), np.array([4, 2, 3], np.int64))
    # From the top: 3 of bin 9, 2 of bin 5, and one of the 4 in bin 3 makes six.
    assert pixels_up_to_saturation(region, 6).tolist() == [1, 2, 3]
    assert pixels_up_to_saturation(region, 2).tolist() == [0, 0, 2]
    assert pixels_up_to_saturation(region, 99).tolist() == [4, 2, 3]


def test_adding_histograms():
    left = Histogram(np.array([1, 4], np.uint32), np.array([10, 20], np.int64))
    right = Histogram(np.array([4, 7], np.uint32), np.array([1, 2], np.int64))
    both = add_histograms([left, right])
    assert (both.bins.tolist(), both.counts.tolist()) == ([1, 4, 7], [10, 21, 2])
    assert both.total == 33
    assert add_histograms([]).total == 0
    assert count_scores(np.empty(0, np.float32)).total == 0
