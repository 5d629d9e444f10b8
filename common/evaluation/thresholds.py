"""The score above which an image is judged anomalous, from good images held out of the bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
"""How often the true false alarm rate stays within `upper_false_alarm_rate`."""


@dataclass(frozen=True)
class Threshold:
    """An image is judged anomalous when its score is above `value`.

    Attributes
    ----------
    value : float
        One of the held-out scores.
    target_false_alarm_rate : float
        What was asked for.
    promised_false_alarm_rate : float
        What the held-out images support: a new good image exceeds `value` with at most this
        probability.
    held_out_images : int
        Good images that the threshold rests on.
    note : str
        The promise in a sentence.

    Examples
    --------
    >>> from common.evaluation import Threshold
    >>> limit = Threshold(12.5, target_false_alarm_rate=0.05, promised_false_alarm_rate=0.05,
    ...                   held_out_images=19, note="")
    >>> round(limit.upper_false_alarm_rate, 3)  # 1 - 0.05 ** (1 / 19)
    0.146
    """

    value: float
    target_false_alarm_rate: float
    promised_false_alarm_rate: float
    held_out_images: int
    note: str

    @property
    def upper_false_alarm_rate(self) -> float:
        """Bound that the true rate keeps in 95 of 100 draws of the held-out images.

        The promised rate is their average; one draw may be unlucky.
        """
        rank = round(self.promised_false_alarm_rate * (self.held_out_images + 1))
        return _upper_rate(rank, self.held_out_images)


def calibrate_threshold(
    scores: Sequence[float] | NDArray[np.floating], target_false_alarm_rate: float
) -> Threshold | None:
    """Choose the lowest threshold that keeps the target on unseen good images.

    Parameters
    ----------
    scores : array of shape (n,), float
        Image scores (Euclidean distances) of good images that took no part in building the memory
        bank.
    target_false_alarm_rate : float
        Share of good images that may be judged anomalous, above 0 and below 1.

    Returns
    -------
    Threshold or None
        None without scores. If the target is below 1 / (n + 1), no threshold taken from `n`
        images can promise it: the highest score is used and `promised_false_alarm_rate` says
        what it is good for.

    Raises
    ------
    ValueError
        If a score is not finite or the target is not between 0 and 1.

    Notes
    -----
    If held-out and future good images are exchangeable, a new score is equally likely to take any
    of the n + 1 places among them, so it exceeds the k-th highest with probability at most
    k / (n + 1), whatever the distribution. Ties only lower it. The promise is an average over
    draws of the held-out images. For one draw the true rate follows Beta(k, n + 1 - k) (or lies
    lower, with ties), whose 95 % quantile is `upper_false_alarm_rate`.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 2
    (split conformal prediction). Wilks, "Determination of sample sizes for setting tolerance
    limits", 1941 (the law of the rate for one draw).

    Examples
    --------
    A twentieth good part is as likely the highest of all as any other: a chance of 1 in 20.

    >>> from common.evaluation import calibrate_threshold
    >>> threshold = calibrate_threshold(range(1, 20), target_false_alarm_rate=0.05)
    >>> threshold.value, threshold.promised_false_alarm_rate
    (19.0, 0.05)
    """
    if not 0 < target_false_alarm_rate < 1:
        raise ValueError(
            f"the target false alarm rate is {target_false_alarm_rate}, "
            "expected above 0 and below 1"
        )
    held_out = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not np.isfinite(held_out).all():
        raise ValueError("a held-out score is not finite")
    n = held_out.size
    if n == 0:
        return None
    # 0.05 * 20 may come out as 0.9999...: without the slack the promise would be too careful.
    supported = int(np.floor(target_false_alarm_rate * (n + 1) + 1e-9))
    rank = min(max(supported, 1), n)
    promised = rank / (n + 1)
    images = "1 held-out good image" if n == 1 else f"{n} held-out good images"
    likely = (
        f"at most {_percent(promised)} of new good parts on average, and by bad luck up to "
        f"{_percent(_upper_rate(rank, n))} ({CONFIDENCE:.0%} confidence), if they are like these"
    )
    if supported < 1:
        needed = int(np.ceil(1 / target_false_alarm_rate - 1e-9)) - 1
        note = (
            f"{images} cannot support a false alarm rate of {_percent(target_false_alarm_rate)}; "
            f"{needed} images would be needed. Above the highest of their scores lie {likely}."
        )
    else:
        note = f"{images} support this: above the threshold lie {likely}."
    return Threshold(float(held_out[n - rank]), target_false_alarm_rate, promised, n, note)


def _upper_rate(rank: int, images: int) -> float:
    """95 % quantile of Beta(k, n + 1 - k), the true rate beyond the k-th highest of n scores."""
    from scipy.special import betaincinv  # most processes never set a threshold

    return float(betaincinv(rank, images + 1 - rank, CONFIDENCE))


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
