"""Comparing today's scores with the calibration's, and whether the threshold keeps its promise."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from common.evaluation import calibrate_threshold
from common.evaluation.drift import compare_with_calibration

LAWS = {
    "normal": lambda rng, n: rng.normal(2.0, 0.3, n),
    "lognormal, heavy tail": lambda rng, n: rng.lognormal(0.0, 1.0, n),
    "uniform": lambda rng, n: rng.uniform(0.0, 1.0, n),
    "two kinds of parts": lambda rng, n: rng.normal(1.0, 0.1, n) + (rng.random(n) < 0.2),
    "ties": lambda rng, n: rng.integers(0, 12, n).astype(float),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("held_out", "target"), [(8, 0.05), (19, 0.05), (50, 0.1), (99, 0.05)])
def test_the_false_alarm_rate_is_at_most_what_was_promised(
    law: str, held_out: int, target: float
) -> None:
    """The promise is an average over splits, so the mean over splits is tested.

    The share beyond the threshold varies between splits with a standard deviation of at most
    sqrt(p / (n + 2)), p the promised rate: the mean of 2000 splits by 1/44 of that.
    """
    rng = np.random.default_rng([held_out, sorted(LAWS).index(law)])
    splits, fresh = 2000, 400
    scores = LAWS[law](rng, splits * (held_out + fresh)).reshape(splits, -1)
    shares, promised = [], 0.0
    for row in scores:
        threshold = calibrate_threshold(row[:held_out], target)
        assert threshold is not None
        promised = threshold.promised_false_alarm_rate
        shares.append(float(np.mean(row[held_out:] > threshold.value)))
    slack = 4 * np.sqrt(promised / (held_out + 2)) / np.sqrt(splits)
    assert np.mean(shares) <= promised + slack
    if law != "ties":  # and without ties no better than promised: nothing is given away
        assert np.mean(shares) >= promised - slack


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("held_out", "target"), [(8, 0.05), (19, 0.05), (99, 0.05)])
def test_the_false_alarm_rate_keeps_its_bound_as_often_as_stated(
    law: str, held_out: int, target: float
) -> None:
    """In 5 % of the splits the true rate is above the bound: 100 of 2000, a deviation of 9.7.

    The true rate is measured with 4000 fresh scores, which blurs it a little.
    """
    rng = np.random.default_rng([7, held_out, sorted(LAWS).index(law)])
    beyond, bound = 0, 0.0
    for _ in range(2000):
        row = LAWS[law](rng, held_out + 4000)
        threshold = calibrate_threshold(row[:held_out], target)
        assert threshold is not None
        bound = threshold.upper_false_alarm_rate
        beyond += float(np.mean(row[held_out:] > threshold.value)) > bound
    assert beyond <= 140
    if law != "ties":  # and no more careful than stated
        assert beyond >= 60
    assert bound > threshold.promised_false_alarm_rate


def test_probability_of_so_many_beyond_is_that_of_random_order() -> None:
    """3 calibration scores, the highest is the threshold; 3 new ones, 2 of them higher.

    All C(6, 3) = 20 orders are equally likely. At least 2 new ones above the highest old one: the
    two highest places are new, the third new one takes any of the other 4 places: 4 orders.
    """
    orders = list(combinations(range(6), 3))
    twin = sum(sum(place > max(old) for place in set(range(6)) - set(old)) >= 2 for old in orders)
    assert twin == 4
    drift = compare_with_calibration([0.5, 4.0, 5.0], [1.0, 2.0, 3.0], threshold=3.0)
    assert drift.p_beyond == pytest.approx(4 / 20)
    assert drift.share_beyond == pytest.approx(2 / 3)
    assert drift.promised_share == pytest.approx(1 / 4)
    # 4 and 5 are above all three, 0.5 above none: 6 of 9 comparisons.
    assert drift.higher == pytest.approx(6 / 9)
    assert drift.verdict == "unknown"


def normal(mean: float, count: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(mean, 1.0, count)


def test_an_unchanged_process_is_rarely_suspected() -> None:
    """Two tests at 1 % each: at most about 2 % of 400, that is 8 with a deviation of 2.8."""
    verdicts = []
    for seed in range(400):
        scores = normal(0.0, 120, seed)
        threshold = calibrate_threshold(scores[:40], 0.05)
        assert threshold is not None
        drift = compare_with_calibration(scores[40:], scores[:40], threshold.value)
        verdicts.append(drift.verdict)
    assert verdicts.count("watch") + verdicts.count("refit") <= 17
    assert verdicts.count("refit") <= 3


@pytest.mark.parametrize(
    ("shift", "expected"), [(0.0, "fit"), (0.7, "watch"), (3.0, "refit"), (-0.7, "watch")]
)
def test_a_shift_is_judged_by_its_size(shift: float, expected: str) -> None:
    calibration = normal(0.0, 60, 1)
    drift = compare_with_calibration(normal(shift, 60, 2), calibration, 10.0)
    assert drift.verdict == expected
    assert drift.sentence.startswith(f"{expected}: 60 images against 60")
    assert ("lower" in drift.sentence) == (shift < 0)


def test_defects_among_the_images_are_no_drift_where_parts_are_not_known_to_be_good() -> None:
    calibration = normal(0.0, 60, 3)
    mixed = np.concatenate([normal(0.0, 60, 4), normal(20.0, 60, 5)])
    threshold = float(calibration.max())
    assert compare_with_calibration(mixed, calibration, threshold).verdict == "refit"
    drift = compare_with_calibration(mixed, calibration, threshold, all_good=False)
    assert drift.verdict == "fit"
    assert drift.share_beyond is not None
    assert drift.share_beyond >= 0.5
    assert drift.p_beyond is None
    high = compare_with_calibration(normal(20.0, 60, 5), calibration, threshold, all_good=False)
    assert high.verdict == "watch"
    assert "only 0 of 60" in high.sentence


def test_quantiles_of_a_ladder() -> None:
    drift = compare_with_calibration(np.arange(101.0), np.arange(11.0))
    assert drift.quantiles == {"0.05": 5.0, "0.25": 25.0, "0.5": 50.0, "0.75": 75.0, "0.95": 95.0}
    assert drift.calibration_quantiles["0.5"] == 5.0
    assert drift.share_beyond is None
    assert drift.verdict == "refit"  # 90 of 101 lie above all of them


def test_nothing_to_compare_is_unknown() -> None:
    assert compare_with_calibration([], [1.0] * 9, 1.0).verdict == "unknown"
    assert compare_with_calibration([1.0] * 9, [], 1.0).verdict == "unknown"
    same = compare_with_calibration([1.0] * 9, [1.0] * 9, 1.0)
    assert (same.verdict, same.higher) == ("unclear", 0.5)  # 9 images cannot tell


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        compare_with_calibration([bad], [1.0])
    with pytest.raises(ValueError, match="finite"):
        compare_with_calibration([1.0], [1.0], bad)


def test_what_so_few_images_cannot_tell_is_not_called_fit() -> None:
    """8 of 41 good parts beyond a threshold of 20 images, with a promise of 1 in 21."""
    calibration = np.linspace(1.0, 2.0, 20)
    today = np.concatenate([np.linspace(1.0, 1.99, 33), np.linspace(2.01, 2.1, 8)])
    drift = compare_with_calibration(today, calibration, 2.0)
    assert (drift.share_beyond, drift.promised_share) == (8 / 41, 1 / 21)
    assert drift.verdict == "unclear"
    assert drift.detectable_share is not None
    assert "19.5% lie beyond the threshold, 4.8% were promised" in drift.sentence
    told = f"a rate of false alarms below {drift.detectable_share:.0%} could not have been told"
    assert told in drift.sentence
    # Twenty images never tell less than one in five, however many are tested.
    many = compare_with_calibration(np.linspace(1.0, 2.0, 5000), calibration, 2.0)
    assert many.verdict == "unclear"
    assert many.detectable_share is not None
    assert many.detectable_share > 0.2


def test_the_rate_that_could_have_been_told_is_told_in_four_of_five() -> None:
    rng, surprises = np.random.default_rng(6), 0
    scores = rng.random(60)
    threshold = calibrate_threshold(scores, 0.05)
    assert threshold is not None
    first = compare_with_calibration(rng.random(60), scores, threshold.value)
    rate = first.detectable_share
    assert rate is not None
    for _ in range(1000):
        beyond = rng.random(60) < rate
        today = np.where(beyond, threshold.value + 1, threshold.value - 1e-6)
        p_beyond = compare_with_calibration(today, scores, threshold.value).p_beyond
        surprises += p_beyond is not None and p_beyond < 0.01
    assert 770 <= surprises <= 830
