"""How large a paired difference is, in standard deviations, and how sure that is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

RESAMPLES: Final = 10_000
_LARGEST_LOSS: Final = 0.05
# Below this share of the numbers themselves, a spread is rounding and not spread.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class EffectSize:
    """Cohen's d of a method against a reference over the same categories.

    Attributes
    ----------
    d : float or None
        Mean difference over the pooled standard deviation of the two methods' values.
    d_z : float or None
        Mean difference over the standard deviation of the differences.
    d_interval, d_z_interval : (float, float) or None
        95 % bootstrap intervals (percentiles).
    note : str
        Why a number is None; empty if none is.
    """

    d: float | None
    d_z: float | None
    d_interval: Interval | None
    d_z_interval: Interval | None
    note: str = ""


def effect_size(
    values: NDArray[np.float64], reference: NDArray[np.float64], seed: int = 42
) -> EffectSize:
    """Cohen's d, pooled and of the differences, with bootstrap intervals.

    Parameters
    ----------
    values, reference : array of shape (n,), float64
        One number for each category, in the same order; n >= 2.
    seed : int
        Seeds the drawing of categories for the bootstrap.

    Returns
    -------
    EffectSize
        None instead of infinity where the spread in the denominator is zero.

    Notes
    -----
    scipy's paired bootstrap draws whole categories, so pairs stay pairs. Resamples without spread
    have no d; if they are more than one in twenty, no interval is given. The percentiles are taken
    here of those that have one: scipy's interval is NaN as soon as one resample of 10,000 is, which
    is nearly always so with six categories, and its bias-corrected one (BCa), too.

    References
    ----------
    J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, sections 2.2 and 2.3.5;
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    from scipy import stats  # a second to import, and the report of one run needs none of it

    single_d, single_d_z = map(_known, _both(values, reference))
    with warnings.catch_warnings():
        # Of a resample without spread: scipy's own interval, which is not used, would be NaN.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        all_d, all_d_z = stats.bootstrap(
            (values, reference),
            _both,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    notes = []
    if single_d is None:
        notes.append("Neither method varies over the categories: Cohen's d is undefined.")
    if single_d_z is None:
        notes.append("The difference is the same in every category: d_z is undefined.")
    d_interval = _interval(all_d) if single_d is not None else None
    d_z_interval = _interval(all_d_z) if single_d_z is not None else None
    if (single_d is not None and d_interval is None) or (
        single_d_z is not None and d_z_interval is None
    ):
        notes.append("Too few distinct categories for a bootstrap interval.")
    return EffectSize(single_d, single_d_z, d_interval, d_z_interval, " ".join(notes))


def effect_words(d: float) -> str:
    """Cohen's words for a size: negligible, small, medium or large.

    Parameters
    ----------
    d : float

    Returns
    -------
    str
        For |d| below 0.2, 0.5, 0.8 and from there on.
    """
    size = abs(d)
    if size < 0.2:
        return "negligible"
    if size < 0.5:
        return "small"
    return "medium" if size < 0.8 else "large"


def has_spread(values: NDArray[np.float64], scale: float) -> bool:
    """Whether numbers differ by more than rounding, against the size of what they came from."""
    return bool(np.ptp(values) > _ROUNDING * max(scale, np.finfo(float).tiny))


def _both(
    values: NDArray[np.float64], reference: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    """Cohen's d and d_z along an axis, one after the other; NaN where the spread is zero."""
    differences = values - reference
    mean = differences.mean(axis=axis)
    scale = np.maximum(np.abs(values).max(axis=axis), np.abs(reference).max(axis=axis))
    pooled = np.sqrt((values.var(axis=axis, ddof=1) + reference.var(axis=axis, ddof=1)) / 2)
    paired = differences.std(axis=axis, ddof=1)
    return np.stack([_ratio(mean, pooled, scale), _ratio(mean, paired, scale)])


def _ratio(
    mean: NDArray[np.float64], spread: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Divide; 0 where the mean is zero, too, and NaN where only the spread is."""
    floor = _ROUNDING * scale
    ratio = np.full_like(mean, np.nan)
    np.divide(mean, spread, out=ratio, where=spread > floor)
    return np.where((spread <= floor) & (np.abs(mean) <= floor), 0.0, ratio)


def _known(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(values: NDArray[np.float64]) -> Interval | None:
    """2.5 and 97.5 percentiles of what is defined; None if too much is not."""
    defined = values[~np.isnan(values)]
    if len(defined) < (1 - _LARGEST_LOSS) * len(values):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
