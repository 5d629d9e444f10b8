"""The rule alone, on scores: what is refused, what is not, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest

from common.evaluation import calibrate_threshold
from common.evaluation.image_scores import auc_roc
from common.line.models.acceptance import JudgedImages, judge_acceptance
from common.line.models.bootstrap import auroc_difference
from common.runs.record import threshold_facts

THRESHOLD = {"value": 10.0, "promised_false_alarm_rate": 0.05, "held_out_images": 19}


def good_parts(images: int, alarms: int) -> list[float]:
    """Scores of good parts, so many of which lie above 10."""
    return [*np.linspace(5, 6, images - alarms), *([11.0] * alarms)]


@pytest.mark.parametrize(
    ("images", "most"),
    # Binomial (n, 0.05): P(X >= 4 | 20) = 0.0159, P(X >= 3 | 20) = 0.0755;
    # P(X >= 10 | 100) = 0.0282, P(X >= 9 | 100) = 0.0631.
    [(20, 3), (100, 9)],
)
def test_false_alarms_beyond_the_bound_are_refused(images: int, most: int) -> None:
    def judged(alarms: int):
        # With the same quartiles nothing lies beyond a fence that was never told of.
        return judge_acceptance(
            {"plate": JudgedImages(good_parts(images, alarms), (), (), THRESHOLD)}
        )

    within, beyond = judged(most), judged(most + 1)
    assert within.accepted
    assert within.categories["plate"]["most_false_alarms"] == most
    assert not beyond.accepted
    assert beyond.sentence == (
        f"refused: plate: {most + 1} of {images} held-out good parts lie above the threshold; "
        f"5 % are promised, and up to {most} would be chance (95% bound)"
    )
    assert beyond.categories["plate"]["false_alarms"] == most + 1
    assert beyond.categories["plate"]["p_false_alarms"] < 0.05


def test_the_first_model_of_a_station_is_compared_with_nothing() -> None:
    own = JudgedImages(good_parts(20, 1), [5.0] * 12, [15.0] * 12, THRESHOLD)
    found = judge_acceptance({"plate": own})
    assert found.accepted
    assert found.compared_with is None
    assert found.sentence == (
        "accepted: 1 of 20 held-out good parts lie above the threshold, within the promise; no "
        "model was active before it"
    )
    assert found.categories["plate"]["auroc"] == 1.0
    assert "auroc_active" not in found.categories["plate"]
    assert (found.categories["plate"]["test_detections"], found.unknown) == (12, ())


def test_parts_beyond_the_fence_that_the_threshold_was_computed_without() -> None:
    """Of such parts nothing is promised; but no more are set aside than the threshold told of."""
    scores = [*np.linspace(5, 6, 18), 90.0, 95.0, 99.0]
    told = {**THRESHOLD, "suspicious_held_out": 3}
    found = judge_acceptance({"plate": JudgedImages(scores, (), (), told)})
    assert found.accepted
    assert found.categories["plate"]["set_aside"] == 3
    assert found.categories["plate"]["false_alarms"] == 0
    few = judge_acceptance({"plate": JudgedImages([*scores, 97.0, 98.0], (), (), THRESHOLD)})
    assert not few.accepted
    assert few.categories["plate"]["false_alarms"] == 5
    # A damaged bank moves all scores together: none of them lies beyond their own fence.
    all_moved = JudgedImages([score + 50 for score in scores[:18]], (), (), told)
    assert judge_acceptance({"plate": all_moved}).categories["plate"]["false_alarms"] == 18


def test_too_few_held_out_parts_are_said() -> None:
    """Two parts cannot contradict a promise of 1/3: P(X >= 2) = 1/9."""
    own = {"value": 10.0, "promised_false_alarm_rate": 1 / 3, "held_out_images": 2}
    found = judge_acceptance({"plate": JudgedImages([11.0, 12.0], (), (), own)})
    assert found.accepted
    assert found.unknown == (
        "plate has 2 held-out good parts, too few for any number of false alarms to contradict a "
        "promise of 33.3 %",
    )
    assert found.unknown[0] in found.sentence
    three = {"value": 10.0, "promised_false_alarm_rate": 1 / 4, "held_out_images": 3}
    assert not judge_acceptance({"plate": JudgedImages([11.0] * 3, (), (), three)}).accepted


@pytest.mark.parametrize(
    ("own", "what"),
    [
        (JudgedImages([1.0], (), (), None), "no threshold"),
        (JudgedImages([], (), (), THRESHOLD), "no held-out good part"),
    ],
)
def test_what_is_not_there_is_said_and_refuses_nothing(own: JudgedImages, what: str) -> None:
    found = judge_acceptance({"plate": own})
    assert found.accepted
    assert found.unknown == (f"plate has {what}, so no false alarms were counted",)


def images(shift: float, noise: int, count: int = 40) -> tuple[list[float], list[float]]:
    """Good and defective images' scores; the same images for every model."""
    hard = np.random.default_rng(5).normal(size=2 * count)
    own = np.random.default_rng(noise).normal(scale=0.3, size=2 * count)
    scores = hard + own
    return scores[:count].tolist(), (scores[count:] + shift).tolist()


def test_an_image_auroc_below_the_active_models_is_refused() -> None:
    held = good_parts(20, 0)
    active = JudgedImages(held, *images(2.5, 1), THRESHOLD)
    like = JudgedImages(held, *images(2.5, 2), THRESHOLD)
    worse = JudgedImages(held, *images(0.5, 3), THRESHOLD)
    assert judge_acceptance({"plate": like}, {"plate": active}).accepted
    assert judge_acceptance({"plate": active}, {"plate": worse}).accepted  # better is no fault
    found = judge_acceptance({"plate": worse}, {"plate": active}, compared_with="7")
    assert not found.accepted
    figures = found.categories["plate"]
    assert figures["auroc"] == auc_roc([0] * 40 + [1] * 40, [*worse.good, *worse.defective])
    assert figures["auroc_difference"] == pytest.approx(figures["auroc"] - figures["auroc_active"])
    assert figures["auroc_difference_low"] < figures["auroc_difference"]
    assert figures["auroc_difference"] < figures["auroc_difference_high"] < 0
    assert "its image AUROC is 0.717, the active model's 0.981" in found.sentence
    assert "95% paired bootstrap of 80 images" in found.sentence
    assert found.compared_with == "7"


def test_with_few_images_the_auroc_cannot_be_told() -> None:
    held = good_parts(20, 0)
    active = JudgedImages(held, [1.0] * 9, [2.0] * 30, THRESHOLD)
    worst = JudgedImages(held, [2.0] * 9, [1.0] * 30, THRESHOLD)
    found = judge_acceptance({"plate": worst}, {"plate": active})
    assert found.accepted
    assert (found.categories["plate"]["auroc"], found.categories["plate"]["auroc_active"]) == (0, 1)
    assert "plate has 9 good test images and 30 defective, too few to compare" in found.sentence
    more = JudgedImages(held, [2.0] * 10, [1.0] * 10, THRESHOLD)
    then = JudgedImages(held, [1.0] * 10, [2.0] * 10, THRESHOLD)
    assert not judge_acceptance({"plate": more}, {"plate": then}).accepted


def test_equal_models_differ_by_nothing_and_twice_gives_the_same() -> None:
    one, other = images(1.0, 1), images(0.6, 2)
    same = auroc_difference(one, one, 0.95)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert auroc_difference(one, other, 0.95) == auroc_difference(one, other, 0.95)


def test_the_interval_agrees_with_a_plain_bootstrap() -> None:
    one, other = images(1.5, 1, 25), images(0.9, 2, 25)
    rng, labels, drawn = np.random.default_rng(0), [0] * 25 + [1] * 25, []
    for _ in range(600):
        good, bad = rng.integers(25, size=25), rng.integers(25, size=25)
        sample = [
            auc_roc(labels, [*np.take(own[0], good), *np.take(own[1], bad)]) for own in (one, other)
        ]
        drawn.append(sample[0] - sample[1])
    low, high = np.quantile(drawn, (0.025, 0.975))
    found = auroc_difference(one, other, 0.95)
    # The ends of 600 draws are good to about an eighth of the interval's length.
    assert abs(found.low - low) < (high - low) / 8
    assert abs(found.high - high) < (high - low) / 8


def test_a_model_as_good_as_the_active_one_is_seldom_refused() -> None:
    """Two models of one quality: of 200 pairs about 2.5 % are refused by chance, by two sides."""
    refused = 0
    for trial in range(200):
        rng = np.random.default_rng(1000 + trial)
        hard = rng.normal(size=30) + np.repeat([0, 1.5], 15)
        new, old = (hard + rng.normal(scale=0.5, size=30) for _ in range(2))
        found = auroc_difference((new[:15], new[15:]), (old[:15], old[15:]), 0.95)
        refused += found.high < 0
    assert refused <= 12


def test_a_good_model_of_many_parts_is_not_refused_for_being_tested_often() -> None:
    """The threshold of each part rests on its own scores: the rule never speaks against them."""
    rng, refused = np.random.default_rng(3), 0
    for _ in range(50):
        judged = {}
        for number in range(6):
            scores = rng.gamma(4, size=19).tolist()
            facts = threshold_facts({"plate": calibrate_threshold(scores, 0.05)})["plate"]
            fresh = rng.gamma(4, size=19).tolist()
            judged[f"part-{number}"] = JudgedImages(fresh, (), (), facts)
            own = judge_acceptance({"plate": JudgedImages(scores, (), (), facts)})
            assert own.accepted
        refused += not judge_acceptance(judged).accepted
    # Even of fresh parts, which the threshold never saw: it is one draw, and may be unlucky.
    assert refused <= 15


def test_other_weights_and_forgotten_parts_are_refused() -> None:
    found = judge_acceptance({}, space_fault="built with weights a, found b")
    assert not found.accepted
    assert found.sentence == (
        "refused: it cannot judge with this station's weights: built with weights a, found b"
    )
    plate = JudgedImages(good_parts(20, 0), (), (), THRESHOLD)
    lost = judge_acceptance({"plate": plate}, {"plate": plate, "screw": plate})
    assert lost.refusals == ("screw: it does not know this part, which the active model judges",)


def test_json_holds_plain_numbers() -> None:
    import json

    active = JudgedImages(good_parts(20, 1), *images(1.0, 1), THRESHOLD)
    found = judge_acceptance({"plate": active}, {"plate": active})
    told = json.loads(json.dumps(found.to_json()))
    assert told == found.to_json()
    assert told["accepted"] is True
