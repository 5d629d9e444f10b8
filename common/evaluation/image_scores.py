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
    O(n log n). Pairs are counted in whole numbers (scikit-learn's `roc_auc_score` adds up quotients
    instead), so only the last division rounds.
    """
    false_positives, true_positives = _retrieved(labels, scores)
    pairs = np.trapezoid(true_positives, false_positives)
    return float(pairs / (true_positives[-1] * false_positives[-1]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision averaged over the recall gained at every distinct score.

    Parameters and errors are those of `auc_roc`.

    Returns
    -------
    float
        The sum over thresholds of (recall gained) x (precision there), without interpolation;
        images with equal scores are retrieved together.
    """
    false_positives, true_positives = _retrieved(labels, scores)
    gained = np.diff(true_positives)
    some = gained > 0
    found = true_positives[1:][some]
    precision = found / (found + false_positives[1:][some])
    # From the lowest score up: sums of floats depend on their order, and figures are kept.
    return float((gained[some] * precision)[::-1].sum() / found[-1])


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
    false_positives, true_positives = _retrieved(labels, scores)
    # 1 - 0.9 is a little less than 0.1: without the slack, 1 of 10 would not be allowed.
    allowed = np.floor((1 - tnr) * false_positives[-1] + 1e-9)
    return float(true_positives[false_positives <= allowed][-1] / true_positives[-1])


def _retrieved(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Good and defective images at or above each threshold, from none to all; whole numbers."""
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
    from sklearn.metrics import confusion_matrix_at_thresholds  # most processes need no scores

    _, false_positives, _, true_positives, _ = confusion_matrix_at_thresholds(
        defective, score_array
    )
    return np.append(0.0, false_positives), np.append(0.0, true_positives)
