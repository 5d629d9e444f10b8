"""What is kept of the merged threshold's promise, by drawing: honestly, and with one liar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation import merge_thresholds

DRAWS = 10_000
TARGET = 0.05
CASES = ((3, 4), (3, 20), (5, 4), (5, 10), (5, 40), (10, 4), (10, 20))
"""Stations, and held-out images of each."""

INSIDE = 0.85
"""The rate inside the thresholds that are merged, of the target."""
COMPARED = 100

Draws = NDArray[np.float64]
Liar = Callable[[np.random.Generator, Draws], Draws]
"""(random numbers, all scores of one draw, stations x images) -> what the last station says."""


def says_enormous(rng: np.random.Generator, scores: Draws) -> Draws:
    """Say enormous scores, so that nothing would be found: false alarms go down."""
    return np.full(scores.shape[1], 1e6)


def says_zero(rng: np.random.Generator, scores: Draws) -> Draws:
    """Say 0 for every image."""
    return np.zeros(scores.shape[1])


def says_what_others_say(rng: np.random.Generator, scores: Draws) -> Draws:
    """Repeat the lowest scores of all the others, so that it looks like one of them."""
    return np.sort(scores[:-1].ravel())[: scores.shape[1]]


LIARS: dict[str, Liar | None] = {
    "honest": None,
    "1e6": says_enormous,
    "0": says_zero,
    "the others' lowest": says_what_others_say,
}


def promise(draws: int = DRAWS) -> list[dict[str, Any]]:
    """Draw held-out scores again and again, merge them, and measure what lies above.

    Scores are drawn uniformly from 0 to 1: the rule goes by their order alone, and the share of
    good parts above a threshold is then 1 minus it, exactly. The rule is written anew here, from
    its definition, and compared with the product's for the first draws of each case.

    Parameters
    ----------
    draws : int
        Of each case and liar.

    Returns
    -------
    list of dict
        A case each: `stations`, `images` of each, `promised`, `upper`, `promised_with_liar` as the
        threshold states them; by liar the `mean` rate over the draws, its standard `error`, the
        95 % quantile `upper`, how many thresholds are `outside` of the bounds that the others'
        words set (smallest and largest threshold without the liar and one more), and in how many
        of the draws `compared` the product's own rule gives another one (`other`).
    """
    told = []
    for stations, images in CASES:
        case: dict[str, Any] = {"stations": stations, "images": images, "liars": {}}
        for liar, lie in LIARS.items():
            rng = np.random.default_rng([stations, images])
            scores = rng.random((draws, stations, images))
            if lie is not None:
                scores[:, -1] = [lie(rng, own) for own in scores]
            merged, bounds = _merged(scores)
            rates, other = 1 - np.minimum(merged, 1.0), 0
            for own, value in zip(scores[:COMPARED], merged, strict=False):
                said = {f"s{number:02d}": row for number, row in enumerate(own)}
                threshold = merge_thresholds(said, TARGET)
                assert threshold is not None
                other += int(threshold.value != value)
                case["promised"] = threshold.promised_false_alarm_rate
                case["upper"] = threshold.upper_false_alarm_rate
                case["promised_with_liar"] = threshold.promised_with_liar
            outside = (merged < bounds.min(axis=1)) | (merged > bounds.max(axis=1))
            case["liars"][liar] = {
                "mean": float(rates.mean()),
                "error": float(rates.std() / np.sqrt(draws)),
                "upper": float(np.quantile(rates, 0.95)),
                "outside": int(outside.sum()),
                "other": other,
                "compared": min(COMPARED, draws),
            }
        told.append(case)
    return told


def _merged(scores: Draws) -> tuple[Draws, Draws]:
    """The rule of docs/trust.md for every draw, and the thresholds without the last and another.

    Parameters
    ----------
    scores : array of shape (draws, stations, images)
    """
    draws, stations, images = scores.shape
    rank = max(int(np.floor(INSIDE * TARGET * ((stations - 2) * images + 1) + 1e-9)), 1)
    without = np.full((stations, stations, draws), np.inf)
    for i in range(stations):
        for other in range(i):
            rest = np.delete(scores, [i, other], axis=1).reshape(draws, -1)
            place = rest.shape[1] - rank
            without[i, other] = without[other, i] = np.partition(rest, place, axis=1)[:, place]
    return without.min(axis=1).max(axis=0), without[-1, :-1].T
