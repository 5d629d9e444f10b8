"""One threshold from the held-out scores of several stations, which no single one of them moves.

Let `T(A)` be the threshold of `calibrate_threshold` from the scores of the stations in `A`, with
those beyond the fence of `A` itself left out where that is asked for, and `S` all of them. The
merged threshold is

    max over i of  min over l != i  of  T(S without i and l).

Whatever one station `j` says (scores and how many), it lies between the smallest and the largest
of `T(S without j and l)` over the others `l`, which rest on honest words alone: the term `i = j`
is the smallest of them, so the maximum is no less; and every term `i != j` is at most
`T(S without i and j)`, as `l = j` is among those that its minimum is over. Nothing of `T` is used
but that it goes by the words of the stations in `A` alone, and the fence does: it is made by the
scores of `A`, never by those of all. (One fence for all would be a word of station `j` in every
term, and the bound would fall.)

Its promise is that of split conformal prediction. Where all scores are exchangeable, the place of
the merged threshold among them depends on nothing but how the stations share them, so that the
chance that a new score lies above it is the mean place over random deals, which is simulated.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.evaluation.held_out.fence import Fenced, within_fence
from common.evaluation.thresholds import (
    CONFIDENCE,
    Threshold,
    calibrate_threshold,
    images_in_words,
    percent,
    set_aside_in_words,
)

FEWEST_HOLDERS: Final = 3
"""With one or two, leaving one station out leaves at most one word to go by."""
_MOST_DRAWS: Final = 1000
_FEWEST_DRAWS: Final = 100
_WORK: Final = 4e8
"""Comparisons that the deals of one promise may take: about a second."""
_BLOCK: Final = 4_000_000
"""Numbers in memory at once, of each draw stations x scores."""
_SEED: Final = 0
_INSIDE: Final = 0.85
"""The rate inside `T`, of the target. Leaving two out and taking the middle one lets a little more
through than `T` does; this share keeps the target from a few dozen images on. It must not depend on
how many scores anybody has: else that number would be a word that moves the threshold."""
_MOST_SCORES: Final = 5000


@dataclass(frozen=True)
class _Promise:
    """What the merged threshold is good for: mean rate, its 95 % bound, the mean with a liar."""

    mean: float
    upper: float
    with_liar: float


def merge_thresholds(
    held_out: Mapping[str, Sequence[float]],
    target_false_alarm_rate: float,
    *,
    fenced: bool = False,
) -> Threshold | None:
    """Choose one threshold for all stations, bounded against any single one of them.

    Parameters
    ----------
    held_out : mapping of station to scores
        Image scores (Euclidean distances) of the good images that each station held out.
    target_false_alarm_rate : float
        Share of good images that may be judged anomalous, above 0 and below 1.
    fenced : bool
        As in `calibrate_threshold`: here it is each `T(A)` that leaves out what lies beyond the
        fence of `A`.

    Returns
    -------
    Threshold or None
        None without scores. With three or more holders `promised_with_liar` says what is kept
        whatever one station claims; with fewer it is None, and the threshold is that of all
        scores together, as `calibrate_threshold` chooses it.

    Raises
    ------
    ValueError
        As `calibrate_threshold`.

    Examples
    --------
    The third station's word changes nothing beyond what the others said.

    >>> from common.evaluation import merge_thresholds
    >>> honest = {"a": [1.0, 1.3], "b": [1.1, 1.2], "c": [1.0, 1.4]}
    >>> merge_thresholds(honest, 0.05).value
    1.3
    >>> merge_thresholds({**honest, "c": [1e6, 1e6]}, 0.05).value
    1.3
    """
    holders = {name: scores for name, scores in sorted(held_out.items()) if len(scores)}
    everything = [float(score) for scores in holders.values() for score in scores]
    pooled = calibrate_threshold(everything, target_false_alarm_rate, fenced=fenced)
    if pooled is None or not holders:
        return pooled
    if len(holders) < FEWEST_HOLDERS:
        if len(holders) == 1:
            return pooled
        return replace(
            pooled,
            note=f"{pooled.note} Only {len(holders)} stations held these out: what one of them "
            "says can move it.",
        )
    inside = _INSIDE * target_false_alarm_rate
    owners = np.repeat(np.arange(len(holders)), [len(own) for own in holders.values()])
    scores = np.asarray(everything, dtype=np.float64)
    divided = within_fence(scores) if fenced else Fenced(np.sort(scores), scores[:0], None)
    left = owners if divided.fence is None else owners[scores <= divided.fence]
    # Who has nothing left still has a place among those that are left out in turn.
    sizes = tuple(int(max(1, n)) for n in np.bincount(left, minlength=len(holders)))
    promise = _promise(sizes, inside)
    order = np.argsort(scores, kind="stable")
    total, beyond = divided.kept.size, divided.beyond.size
    note = _note(total, len(sizes), target_false_alarm_rate, promise)
    in_all = (promise.mean * (total + 1) + beyond) / (total + beyond + 1)
    return Threshold(
        _bounded(scores[order], owners[order], len(sizes), inside, fenced),
        target_false_alarm_rate,
        promise.mean,
        total,
        note + set_aside_in_words(divided, in_all),
        upper_bound=promise.upper,
        promised_with_liar=promise.with_liar,
        suspicious_held_out=beyond,
        fence=divided.fence,
    )


def merged_value(
    held_out: Mapping[str, Sequence[float]],
    target_false_alarm_rate: float,
    *,
    fenced: bool = False,
) -> float | None:
    """Return the value of `merge_thresholds` alone, without its promise, which takes a second."""
    holders = {name: scores for name, scores in sorted(held_out.items()) if len(scores)}
    scores = np.array([s for own in holders.values() for s in own], dtype=np.float64)
    if len(holders) < FEWEST_HOLDERS:
        pooled = calibrate_threshold(scores, target_false_alarm_rate, fenced=fenced)
        return None if pooled is None else pooled.value
    owners = np.repeat(np.arange(len(holders)), [len(own) for own in holders.values()])
    order, inside = np.argsort(scores, kind="stable"), _INSIDE * target_false_alarm_rate
    return _bounded(scores[order], owners[order], len(holders), inside, fenced)


def _bounded(
    ascending: NDArray[np.float64],
    owners: NDArray[np.int64],
    stations: int,
    inside: float,
    fenced: bool,
) -> float:
    """The merged threshold itself: every `T(S without i and l)` by its own scores."""
    without = np.zeros((stations, stations))
    np.fill_diagonal(without, np.inf)
    for i, j in itertools.combinations(range(stations), 2):
        scores = ascending[(owners != i) & (owners != j)]
        without[i, j] = without[j, i] = _threshold(scores, inside, fenced)
    return float(without.min(axis=1).max())


def _threshold(scores: NDArray[np.float64], inside: float, fenced: bool) -> float:
    """`T` of ascending scores: what `calibrate_threshold` chooses, without its words."""
    kept = within_fence(scores).kept if fenced else scores
    rank = int(np.floor(inside * (kept.size + 1) + 1e-9))
    return float(kept[kept.size - max(min(rank, kept.size), 1)])


@lru_cache(maxsize=64)
def _promise(sizes: tuple[int, ...], inside: float) -> _Promise:
    """Deal the places of all scores to the stations at random, again and again.

    Beyond `_MOST_SCORES` in all the stations have as many in proportion: the rate does not change,
    and nobody's number of scores can cost the server its time.
    """
    if sum(sizes) > _MOST_SCORES:
        sizes = tuple(max(1, round(n * _MOST_SCORES / sum(sizes))) for n in sizes)
    rng = np.random.default_rng(_SEED)
    each, total = np.asarray(sizes), sum(sizes)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    draws = int(np.clip(_WORK / (len(sizes) ** 2 * total), _FEWEST_DRAWS, _MOST_DRAWS))
    reached: list[NDArray[np.int64]] = []
    honest: list[NDArray[np.int64]] = []
    block = max(1, _BLOCK // (len(sizes) * total))
    for start in range(0, draws, block):
        more = min(block, draws - start)
        dealt = rng.permuted(np.broadcast_to(owners, (more, total)), axis=1)
        places = _leave_two_out(dealt, sizes, inside)
        reached.append(_merged(places) + 1)
        # The lowest that station j can bring about, whatever it says: of the others' scores, so
        # many are no lower.
        lowest = places.max(axis=2)
        own = [
            np.count_nonzero((dealt == j) & (np.arange(total) <= lowest[:, j, None]), axis=1)
            for j in range(len(sizes))
        ]
        honest.append(lowest + 1 - np.stack(own, axis=1))
    return _Promise(
        mean=float(np.concatenate(reached).mean()) / (total + 1),
        upper=_upper(np.concatenate(reached), total),
        with_liar=float((np.concatenate(honest).mean(axis=0) / (total - each + 1)).max()),
    )


def _upper(places: NDArray[np.int64], total: int) -> float:
    """95 % quantile of the true rate: for each place k it follows Beta(k, n + 1 - k)."""
    from scipy.special import betainc

    values, counts = np.unique(places, return_counts=True)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        below = betainc(values, total + 1 - values, middle) @ counts / counts.sum()
        low, high = (middle, high) if below < CONFIDENCE else (low, middle)
    return high


def _merged(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each draw's merged threshold, from those of `_leave_two_out`."""
    # Further down is lower: the minimum over l is the farthest place, and the maximum the nearest.
    merged: NDArray[np.int64] = places.max(axis=2).min(axis=1)
    return merged


def _leave_two_out(
    owners: NDArray[np.int64], sizes: tuple[int, ...], inside: float
) -> NDArray[np.int64]:
    """Places of `T(S without i and l)` among all scores in descending order, from 0.

    Parameters
    ----------
    owners : array of shape (draws, n)
        Whose the scores are, from the highest score down.
    sizes : tuple of int
        Scores of each station.
    inside : float
        The rate inside `T`.

    Returns
    -------
    array of shape (draws, stations, stations)
        -1 on the diagonal.
    """
    each = np.asarray(sizes)
    draws, total = owners.shape
    left = total - each[:, None] - each[None, :]
    ranks = np.floor(inside * (left + 1) + 1e-9).astype(np.int64)
    ranks = np.maximum(np.minimum(ranks, left), 1)
    # Of the highest scores, so many at most belong to the two that are left out.
    depth = min(total, int(ranks.max()) + 2 * int(each.max()))
    counts = owners[:, None, :depth] == np.arange(len(sizes))[:, None]
    counts = counts.cumsum(axis=2, dtype=np.int32)
    reached = np.arange(1, depth + 1, dtype=np.int32)
    places = np.full((draws, len(sizes), len(sizes)), -1, dtype=np.int64)
    for i in range(len(sizes)):
        others = reached - counts[:, i, None] - counts >= ranks[i][:, None]
        places[:, i] = others.argmax(axis=2)
        places[:, i, i] = -1
    return places


def _note(images: int, stations: int, target: float, promise: _Promise) -> str:
    likely = (
        f"at most {percent(promise.mean)} of new good parts on average, and by bad luck up to "
        f"{percent(promise.upper)} ({CONFIDENCE:.0%} confidence), if they are like these; "
        f"{percent(promise.with_liar)} on average if one of the {stations} stations says wrong "
        "things"
    )
    held = f"{images_in_words(images)} of {stations} stations"
    if promise.mean <= target:
        return f"{held} support this: above the threshold lie {likely}."
    return (
        f"{held} are too few for a false alarm rate of {percent(target)} that no single station "
        f"moves. Above the threshold lie {likely}."
    )
