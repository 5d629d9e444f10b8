"""Do today's good parts still lie where the calibration's good parts lay?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["fit", "unclear", "watch", "refit", "unknown"]

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
FEWEST: Final = 5
"""Fewer scores than this on a side say nothing."""
STALE: Final = (
    "the bank has grown since the threshold was calibrated; the threshold's promise still holds, "
    "but it may be higher than needed, and drift is unknown until it is calibrated again: train "
    "anew with the new parts among the training images"
)
"""What there is to say of a calibration that is older than its bank."""
_SURPRISE: Final = 0.01
_ALARM: Final = 0.001
_HINT: Final = 0.05
"""More improbable than this is no fit, even if it is no surprise yet."""
_POWER: Final = 0.8
"""A rate could have been told if so large a share of such comparisons had been a surprise."""
_TELLING: Final = 0.2
"""Nobody is told `fit` where not even one false alarm in five good parts could have been told."""
_STRONG_SHIFT: Final = 0.8
"""Probability that a new good part scores higher than a held-out one; 0.5 without a shift."""


@dataclass(frozen=True)
class Drift:
    """Scores of today compared with those of the held-out images.

    Attributes
    ----------
    verdict : "fit", "unclear", "watch", "refit" or "unknown"
    sentence : str
        The verdict in plain words, with its reason.
    images, calibration_images : int
        How many scores were compared.
    quantiles, calibration_quantiles : dict of "0.05", ..., "0.95" to score
    share_beyond : float or None
        Of today's scores, how many lie above the threshold; None without a threshold.
    promised_share : float or None
        What the threshold promised of good parts.
    higher : float or None
        Probability that one of today's scores is higher than one of the calibration's (a tie
        counts half); None without scores on both sides.
    p_beyond, p_higher : float or None
        How probable so many beyond the threshold, and so much of a shift up or down (two-sided),
        would be if nothing had changed.
    detectable_share : float or None
        The lowest rate beyond the threshold that so few images could have told from what was
        promised: in 80 of 100 such comparisons it is a surprise (below 1 %). None where the share
        beyond is not judged.
    """

    verdict: Verdict
    sentence: str
    images: int
    calibration_images: int
    quantiles: dict[str, float]
    calibration_quantiles: dict[str, float]
    share_beyond: float | None = None
    promised_share: float | None = None
    higher: float | None = None
    p_beyond: float | None = None
    p_higher: float | None = None
    detectable_share: float | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


def compare_with_calibration(
    scores: Sequence[float] | NDArray[np.floating],
    calibration: Sequence[float] | NDArray[np.floating],
    threshold: float | None = None,
    *,
    all_good: bool = True,
    stale: bool = False,
) -> Drift:
    """Say whether today's scores look like those that the threshold was calibrated with.

    Parameters
    ----------
    scores : array of shape (m,), float
        Image scores of today.
    calibration : array of shape (n,), float
        Image scores of the good images that were held out of the bank.
    threshold : float, optional
        The one in use.
    all_good : bool
        Whether today's images are known to show good parts. If not, defects among them must not
        look like drift: only the scores up to the threshold are compared, on both sides, and the
        share beyond it is told but not judged.
    stale : bool
        Whether the bank has grown since: the same parts score lower now, which is no drift.

    Returns
    -------
    Drift
        `fit`: no sign of a change, and one that matters would have been seen: one false alarm in
        five good parts, or twice what was promised if that is more. `unclear`: no surprise, but
        so few images cannot tell, or what they show is below 5 %. `watch`: a surprising change
        (below 1 %). `refit`: one that chance hardly explains (below 0.1 %) and that matters:
        today's scores are higher in at least 80 % of the comparisons, or at least twice as many
        as promised lie beyond the threshold.
        `unknown`: fewer than 5 scores on either side, or a stale calibration.

    Raises
    ------
    ValueError
        If a score or the threshold is not finite.

    Notes
    -----
    A threshold with k - 1 of n calibration scores above it is exceeded by j of m new exchangeable
    scores with at most a beta-binomial probability (m, k, n + 1 - k), whatever the distribution;
    exactly that if it is itself one of the n scores. The shift is the Mann-Whitney test, exact for
    few scores without ties.

    References
    ----------
    Mann and Whitney, "On a test of whether one of two random variables is stochastically larger
    than the other", 1947. Wilks, "Determination of sample sizes for setting tolerance limits",
    1941 (the number of new observations beyond an order statistic).
    """
    from scipy import stats  # a second to import, and most processes never get here

    today = _sorted(scores, "score")
    held_out = _sorted(calibration, "calibration score")
    if threshold is not None and not np.isfinite(threshold):
        raise ValueError(f"the threshold is {threshold}, expected a finite number")
    facts: dict[str, Any] = {
        "images": today.size,
        "calibration_images": held_out.size,
        "quantiles": _quantiles(today),
        "calibration_quantiles": _quantiles(held_out),
    }
    compared, reference = today, held_out
    if threshold is not None and today.size:
        facts["share_beyond"] = float(np.mean(today > threshold))
    if stale:
        return Drift("unknown", "unknown: the bank has grown since the calibration", **facts)
    if threshold is not None and today.size and held_out.size:
        rank = int((held_out > threshold).sum()) + 1
        facts["promised_share"] = rank / (held_out.size + 1)
        if all_good and rank <= held_out.size:
            beyond = int((today > threshold).sum())
            law = stats.betabinom(today.size, rank, held_out.size + 1 - rank)
            facts["p_beyond"] = float(law.sf(beyond - 1))
            facts["detectable_share"] = _detectable(law, today.size)
    if threshold is not None and not all_good:
        compared, reference = today[today <= threshold], held_out[held_out <= threshold]
    if compared.size and reference.size:
        test = stats.mannwhitneyu(compared, reference, alternative="two-sided")
        facts["higher"] = float(test.statistic) / (compared.size * reference.size)
        facts["p_higher"] = float(test.pvalue)
    if min(compared.size, reference.size) < FEWEST:
        verdict, sentence = _too_few(today, compared, reference, all_good)
    else:
        verdict, sentence = _judge(facts, all_good)
    return Drift(verdict, sentence, **facts)


def _too_few(
    today: NDArray[np.float64],
    compared: NDArray[np.float64],
    reference: NDArray[np.float64],
    all_good: bool,
) -> tuple[Verdict, str]:
    if not all_good and today.size >= FEWEST and compared.size < FEWEST <= reference.size:
        return "watch", (
            f"watch: only {compared.size} of {today.size} images are within the threshold; either "
            "nearly all parts are defective, or good parts look different from the calibration's"
        )
    return "unknown", (
        f"unknown: {compared.size} scores of today against {reference.size} of the calibration "
        f"are too few to compare; at least {FEWEST} each are needed"
    )


def _judge(facts: dict[str, Any], all_good: bool) -> tuple[Verdict, str]:
    higher, p_higher = facts["higher"], facts["p_higher"]
    reasons = []
    verdict: Verdict = "fit"
    p_beyond = facts.get("p_beyond")
    if p_beyond is not None and p_beyond < _SURPRISE:
        share, promised = facts["share_beyond"], facts["promised_share"]
        reasons.append(f"{share:.1%} lie beyond the threshold, {promised:.1%} were promised")
        verdict = "refit" if p_beyond < _ALARM and share >= 2 * promised else "watch"
    if p_higher < _SURPRISE:
        way = "higher" if higher > 0.5 else "lower"
        part = higher if higher > 0.5 else 1 - higher
        reasons.append(f"in {part:.0%} of comparisons today's score is the {way} one")
        if p_higher < _ALARM and higher >= _STRONG_SHIFT:
            verdict = "refit"
        elif verdict == "fit":
            verdict = "watch"
    what = "good parts" if all_good else "parts within the threshold"
    seen = facts.get("detectable_share")
    if verdict == "fit" and p_beyond is not None and seen is not None:
        promised = facts["promised_share"]
        hint = min(p_beyond, p_higher) < _HINT
        if hint or seen > max(_TELLING, 2 * promised):
            verdict = "unclear"
    limit = ""
    if seen is not None:
        limit = (
            f"; with so few images a rate of false alarms below {seen:.0%} could not have been "
            f"told from the {facts['promised_share']:.1%} promised"
        )
    start = f"{verdict}: {facts['images']} images against {facts['calibration_images']}: "
    if verdict == "fit":
        return verdict, f"{start}today's {what} lie as the calibration's did{limit}"
    if verdict == "unclear":
        return verdict, (
            f"{start}{facts['share_beyond']:.1%} lie beyond the threshold, "
            f"{facts['promised_share']:.1%} were promised, which may be chance or a change{limit}"
        )
    advice = {
        "watch": "look at some of them, and at light, lens and position",
        "refit": "add today's good parts to the bank or train anew, then calibrate again",
    }[verdict]
    return verdict, f"{start}{'; '.join(reasons)}; {advice}"


def _detectable(law: Any, images: int) -> float:
    """Lowest rate at which 80 of 100 draws of so many images surprise who expects the law."""
    from scipy import stats

    counts = np.arange(images + 1)
    surprising = counts[law.sf(counts - 1) < _SURPRISE]
    if not surprising.size:
        return 1.0
    # At least c of m with probability 0.8: the 80 % quantile of Beta(c, m - c + 1).
    least = int(surprising[0])
    return float(stats.beta.ppf(_POWER, least, images - least + 1))


def _sorted(scores: Sequence[float] | NDArray[np.floating], name: str) -> NDArray[np.float64]:
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not np.isfinite(values).all():
        raise ValueError(f"a {name} is not finite")
    return values


def _quantiles(scores: NDArray[np.float64]) -> dict[str, float]:
    if scores.size == 0:
        return {}
    return {
        f"{q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(scores, QUANTILES), strict=True)
    }
