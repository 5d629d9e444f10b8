"""The score above which an image is judged anomalous, from good images held out of the bank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.evaluation.held_out.fence import Fenced, within_fence

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
    upper_bound : float or None
        Of a threshold merged from several stations: see `upper_false_alarm_rate`.
    promised_with_liar : float or None
        Of a threshold merged from three or more stations: the promise that is kept whatever one
        of them says. None where nothing protects it.
    suspicious_held_out : int
        Held-out images whose scores lie beyond the fence (see `fence_of`): the threshold is
        computed without them, and promises nothing of parts like them.
    fence : float or None
        Where that is; None where nobody looked, or too few scores tell of none.

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
    upper_bound: float | None = None
    promised_with_liar: float | None = None
    suspicious_held_out: int = 0
    fence: float | None = None

    @property
    def upper_false_alarm_rate(self) -> float:
        """Bound that the true rate keeps in 95 of 100 draws of the held-out images.

        The promised rate is their average; one draw may be unlucky.
        """
        if self.upper_bound is not None:
            return self.upper_bound
        rank = round(self.promised_false_alarm_rate * (self.held_out_images + 1))
        if rank > self.held_out_images:
            return 1.0  # set by hand below all scores: nothing is promised
        return _upper_rate(rank, self.held_out_images)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Threshold:
        """Make one of what `model.json` keeps, which may tell more: who set it by hand, and why."""
        return cls(**{own.name: facts[own.name] for own in fields(cls) if own.name in facts})


def calibrate_threshold(
    scores: Sequence[float] | NDArray[np.floating],
    target_false_alarm_rate: float,
    *,
    fenced: bool = False,
) -> Threshold | None:
    """Choose the lowest threshold that keeps the target on unseen good images.

    Parameters
    ----------
    scores : array of shape (n,), float
        Image scores (Euclidean distances) of good images that took no part in building the memory
        bank.
    target_false_alarm_rate : float
        Share of good images that may be judged anomalous, above 0 and below 1.
    fenced : bool
        Whether scores beyond their own fence are left out and told of: one defective part among
        the good ones would set the threshold so high that hardly a defect passes it.

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

    With a fence k and n are those of the scores left, and the promise is about good parts within
    the fence: of others none is made. Were the m scores left out good ones after all, it would be
    (k + m) / (n + m + 1); the note says that number, too.

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
    every = n
    divided = within_fence(held_out) if fenced else Fenced(held_out, held_out[:0], None)
    held_out, n = divided.kept, divided.kept.size
    # 0.05 * 20 may come out as 0.9999...: without the slack the promise would be too careful.
    supported = int(np.floor(target_false_alarm_rate * (n + 1) + 1e-9))
    rank = min(max(supported, 1), n)
    promised = rank / (n + 1)
    images = images_in_words(n)
    likely = (
        f"at most {percent(promised)} of new good parts on average, and by bad luck up to "
        f"{percent(_upper_rate(rank, n))} ({CONFIDENCE:.0%} confidence), if they are like these"
    )
    if supported < 1:
        needed = int(np.ceil(1 / target_false_alarm_rate - 1e-9)) - 1
        note = (
            f"{images} cannot support a false alarm rate of {percent(target_false_alarm_rate)}; "
            f"{needed} images would be needed. Above the highest of their scores lie {likely}."
        )
    else:
        note = f"{images} support this: above the threshold lie {likely}."
    return Threshold(
        float(held_out[n - rank]),
        target_false_alarm_rate,
        promised,
        n,
        note + set_aside_in_words(divided, (rank + divided.beyond.size) / (every + 1)),
        suspicious_held_out=divided.beyond.size,
        fence=divided.fence,
    )


def set_aside_in_words(divided: Fenced, promised: float) -> str:
    """Say what a threshold was computed without, and what it would promise of such parts.

    Parameters
    ----------
    divided : Fenced
    promised : float
        The promise if all that was set aside are good parts.
    """
    if divided.fence is None or not divided.beyond.size:
        return ""
    count, reach = divided.beyond.size, ", ".join(f"{one:.4g}" for one in divided.beyond[-3:][::-1])
    what = "held-out score lies" if count == 1 else "held-out scores lie"
    return (
        f" It is computed without {count} of {divided.kept.size + count}: the highest {what} "
        f"({reach}) beyond {divided.fence:.4g}, where no good part is expected (third quartile and "
        f"3 times the distance between the quartiles). Look at {'it' if count == 1 else 'them'}; "
        f"of parts like that nothing is promised ({percent(promised)} in all, were they good)."
    )


def _upper_rate(rank: int, images: int) -> float:
    """95 % quantile of Beta(k, n + 1 - k), the true rate beyond the k-th highest of n scores."""
    from scipy.special import betaincinv  # most processes never set a threshold

    return float(betaincinv(rank, images + 1 - rank, CONFIDENCE))


def images_in_words(count: int) -> str:
    """How many images a threshold rests on."""
    return "1 held-out good image" if count == 1 else f"{count} held-out good images"


def percent(rate: float) -> str:
    """Write a rate with three digits."""
    return f"{100 * rate:.3g} %"
