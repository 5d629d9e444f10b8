"""Paired tests whose p-values are exact for few pairs, and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

# All 2^16 patterns of 16 pairs are tried; of more pairs, so many are drawn.
_PATTERNS: Final = 100_000
_BATCH: Final = 10_000  # patterns at a time: 8 bytes a value each
_DIGITS: Final = 12


def sign_flip_p_value(values: NDArray[np.float64], seed: int = 42) -> float:
    """Two-sided p-value of the hypothesis that the sign of every value is a coin toss.

    Parameters
    ----------
    values : array of shape (n,), float64
        Paired differences, of the size of shares; looked at to twelve decimals.
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

    Notes
    -----
    scipy's permutation test, on whole numbers of 1e-12: sums that are equal on paper differ by
    rounding otherwise (0.1 - 0.6 + 0.8 - 0.3 is not 0 in floats), and scipy would count them as
    less far. The statistic is the distance of the sum from zero, so that drawn patterns are
    counted on both sides, where scipy's own two-sided p-value doubles one side.

    References
    ----------
    R. A. Fisher, The Design of Experiments, 1935, section 21.
    """
    if not len(values):
        raise ValueError("no values to test")
    if len(values) == 1:
        return 1.0  # both patterns are as far; scipy takes no single value
    from scipy import stats  # a second to import, and the report of one run needs none of it

    found = stats.permutation_test(
        (np.rint(values * 10.0**_DIGITS),),
        lambda whole, axis: np.abs(whole.sum(axis=axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=_PATTERNS,
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


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
    scipy's exact distribution where there are no ties; with ties the sign patterns of the
    mid-ranks are tried, as no table covers them.

    References
    ----------
    F. Wilcoxon, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1945.
    """
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 0.0, 1.0
    from scipy import stats

    ranks = stats.rankdata(np.abs(nonzero))
    if len(np.unique(ranks)) == len(ranks):
        found = stats.wilcoxon(nonzero, method="exact")
        return float(found.statistic), float(found.pvalue)
    signed = np.sign(nonzero) * ranks
    # The two rank sums: together all ranks, apart the sum of the signed ones.
    return float(ranks.sum() - abs(signed.sum())) / 2, sign_flip_p_value(signed, seed)


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
