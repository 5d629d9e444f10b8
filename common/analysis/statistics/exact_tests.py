"""Paired tests whose p-values are exact for few pairs, and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# 2^16 sign patterns of 16 numbers take 8 MB; beyond that, patterns are drawn.
ENUMERATED_PAIRS: Final = 16
_DRAWN_PATTERNS: Final = 100_000


def sign_flip_p_value(values: NDArray[np.float64], seed: int = 42) -> float:
    """Two-sided p-value of the hypothesis that the sign of every value is a coin toss.

    Parameters
    ----------
    values : array of shape (n,), float64
        Paired differences (permutation test) or signed ranks (Wilcoxon).
    seed : int
        Seeds the drawing of patterns for more than 16 values; without effect for fewer.

    Returns
    -------
    float
        Share of the 2^n sign patterns whose sum lies at least as far from zero as that of
        `values`; for n > 16 the share among 100,000 drawn patterns and the observed one.

    Raises
    ------
    ValueError
        If `values` is empty.

    References
    ----------
    R. A. Fisher, The Design of Experiments, 1935, section 21.
    """
    count = len(values)
    if count == 0:
        raise ValueError("no values to test")
    observed = abs(values.sum())
    # Sums that are equal in exact arithmetic differ by rounding; they count as "as far".
    slack = 1e-9 * max(float(np.abs(values).sum()), np.finfo(float).tiny)
    if count <= ENUMERATED_PAIRS:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        sums = np.abs((2.0 * patterns - 1.0) @ values)
        return float(np.mean(sums >= observed - slack))
    rng = np.random.default_rng(seed)
    as_far = 0
    for _ in range(10):
        signs = rng.choice((-1.0, 1.0), size=(_DRAWN_PATTERNS // 10, count))
        as_far += int(np.sum(np.abs(signs @ values) >= observed - slack))
    return (as_far + 1) / (_DRAWN_PATTERNS + 1)


def wilcoxon_p_value(differences: NDArray[np.float64], seed: int = 42) -> tuple[float, float]:
    """Wilcoxon's signed-rank test, exact for few pairs also where ranks are tied.

    Parameters
    ----------
    differences : array of shape (n,), float64
        Zeros are dropped, as Wilcoxon did.
    seed : int
        Passed on to `sign_flip_p_value`.

    Returns
    -------
    statistic, p_value : float
        The smaller of the two rank sums, and the two-sided p-value; (0, 1) if all differences
        are zero.

    Notes
    -----
    scipy's exact distribution where there are no ties and at most 50 pairs; with ties all sign
    patterns of the mid-ranks are enumerated, as no table covers them.

    References
    ----------
    F. Wilcoxon, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1945.
    """
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 0.0, 1.0
    ranks = stats.rankdata(np.abs(nonzero))
    signed = np.sign(nonzero) * ranks
    statistic = float(min(ranks[nonzero > 0].sum(), ranks[nonzero < 0].sum()))
    untied = len(np.unique(ranks)) == len(ranks)
    if untied and len(nonzero) <= 50:
        return statistic, float(stats.wilcoxon(nonzero, method="exact").pvalue)
    return statistic, sign_flip_p_value(signed, seed)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for being several, by Holm's step-down.

    Parameters
    ----------
    p_values : sequence of float or None
        None (no test was possible) stays None and does not count.

    Returns
    -------
    list of float or None
        Adjusted p-values in the order given, at most 1.

    References
    ----------
    S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Statist. 1979.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p_value, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p_value))
        adjusted[index] = largest
    return adjusted
