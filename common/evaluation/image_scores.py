"""How well one number per image separates good images from defective ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auc_roc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, ties counted by rank.

    Parameters
    ----------
    labels : array of shape (n,), 0 or 1
        1 marks a defective image.
    scores : array of shape (n,), float
        Higher is more anomalous; every value finite.

    Returns
    -------
    float
        The share of (good, defective) pairs in which the defective image has the higher score;
        a tied pair counts one half. 0.5 for constant scores.

    Raises
    ------
    ValueError
        If only one class is present, the shapes differ or a score is not finite.

    Notes
    -----
    O(n log n). Pairs are counted in integers, so only the last division rounds.
    """
    good, defective = _split(labels, scores)
    below = np.searchsorted(good, defective, side="left")
    up_to = np.searchsorted(good, defective, side="right")
    half_pairs = int(below.sum()) + int(up_to.sum())
    return half_pairs / (2 * good.size * defective.size)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision averaged over the recall gained at every distinct score.

    Parameters and errors are those of `auc_roc`.

    Returns
    -------
    float
        The sum over thresholds of (recall gained) x (precision there), without interpolation;
        images with equal scores are retrieved together.
    """
    good, defective = _split(labels, scores)
    levels, gained = np.unique(defective, return_counts=True)
    true_positives = defective.size - np.searchsorted(defective, levels, side="left")
    false_positives = good.size - np.searchsorted(good, levels, side="left")
    precision = true_positives / (true_positives + false_positives)
    return float((gained * precision).sum() / defective.size)


def tpr_at_tnr(labels: ArrayLike, scores: ArrayLike, tnr: float) -> float:
    """Share of defective images found while at least `tnr` of the good ones pass.

    Parameters
    ----------
    labels, scores
        As in `auc_roc`.
    tnr : float
        Share of good images that must be judged good, between 0 and 1.

    Returns
    -------
    float
        The highest true positive rate of all thresholds whose true negative rate is `tnr` or
        more. An image is judged defective when its score is above the threshold.

    Raises
    ------
    ValueError
        As in `auc_roc`, and if `tnr` is not between 0 and 1.
    """
    if not 0 <= tnr <= 1:
        raise ValueError(f"tnr is {tnr}, expected a share between 0 and 1")
    good, defective = _split(labels, scores)
    # 1 - 0.9 is a little less than 0.1: without the slack, 1 of 10 would not be allowed.
    allowed = int(np.floor((1 - tnr) * good.size + 1e-9))
    if allowed >= good.size:
        return 1.0
    threshold = good[good.size - 1 - allowed]
    found = defective.size - int(np.searchsorted(defective, threshold, side="right"))
    return found / defective.size


def _split(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sorted scores of the good and of the defective images."""
    label_array = np.asarray(labels)
    score_array = np.asarray(scores, dtype=np.float64)
    if label_array.ndim != 1 or label_array.shape != score_array.shape:
        raise ValueError(
            f"labels have shape {label_array.shape} and scores {score_array.shape}, "
            "expected one label and one score per image"
        )
    if not np.isfinite(score_array).all():
        raise ValueError("a score is not finite")
    defective = label_array == 1
    if not (defective | (label_array == 0)).all():
        raise ValueError("a label is neither 0 nor 1")
    if not defective.any():
        raise ValueError("no defective images")
    if defective.all():
        raise ValueError("no good images")
    return np.sort(score_array[~defective]), np.sort(score_array[defective])
