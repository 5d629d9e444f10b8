"""Whether a station lets a new model judge: the rule alone, on scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from common.evaluation.held_out.fence import within_fence
from common.evaluation.thresholds import CONFIDENCE, percent
from common.line.models.bootstrap import FEWEST_IMAGES, auroc_difference


@dataclass(frozen=True)
class JudgedImages:
    """Image scores of one category at one station, by one model.

    Attributes
    ----------
    held_out : sequence of float
        Good training images that were kept out of the bank.
    good, defective : sequences of float
        Labelled test images; of two models the same images in the same order.
    threshold : dict or None
        Facts of the threshold that judges here, as in `SavedModel.thresholds`.
    """

    held_out: Sequence[float] = ()
    good: Sequence[float] = ()
    defective: Sequence[float] = ()
    threshold: dict[str, Any] | None = None


@dataclass(frozen=True)
class Acceptance:
    """What the acceptance test found.

    Attributes
    ----------
    accepted : bool
    sentence : str
        The verdict in one plain sentence; names no path and no file.
    refusals : tuple of str
        Each reason to refuse, with its figures.
    unknown : tuple of str
        What could not be told, and why.
    compared_with : str or None
        Name of the active version.
    categories : dict of category to dict
        The figures of each.
    """

    accepted: bool
    sentence: str
    refusals: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    compared_with: str | None = None
    categories: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For `version.json`, `run.json` and programs."""
        return {
            **asdict(self),
            "refusals": list(self.refusals),
            "unknown": list(self.unknown),
        }


def judge_acceptance(
    new: Mapping[str, JudgedImages],
    active: Mapping[str, JudgedImages] | None = None,
    *,
    space_fault: str | None = None,
    compared_with: str | None = None,
    unknown: Sequence[str] = (),
) -> Acceptance:
    """Judge a new model by a station's own scores.

    Parameters
    ----------
    new : mapping of category to JudgedImages
        What the new model says of every category that the station holds.
    active : mapping of category to JudgedImages, optional
        The same images by the model that judges now; without it nothing is compared.
    space_fault : str, optional
        Why the new model's feature space is not that of the station's weights: then its scores
        mean nothing, and it is refused.
    compared_with : str, optional
        Name of the active version.
    unknown : sequence of str
        What is known already that cannot be told.

    Returns
    -------
    Acceptance
        Refused if, in any category, more held-out good parts lie above the threshold than the
        promise explains; if the image AUROC is below the active model's beyond chance; or if a
        category that the active model judges is judged no more.

    Notes
    -----
    *False alarms.* k of n held-out good parts above a threshold that promises the rate p: refused
    if P(X >= k) < 5 % for X binomial (n, p).

    The held-out parts of a station helped to set the threshold, so they are no independent
    sample: of all N calibration scores the threshold lets just p (N + 1) - 1 pass above it, a
    little less than p N. In a model that is as it was computed the test refuses a station's good
    parts *less* often than in 5 of 100 cases, and next to never where they alone set the
    threshold. What it finds is a model that does not do on this station what it promised: a
    damaged bank, another camera, other weights, a threshold moved by the others. It is no
    measurement of the false alarm rate; good test images, which nothing was fitted to, are counted
    beside it (`test_good_false_alarms`) and are such a measurement.

    Scores that the threshold itself was computed without (`suspicious_held_out`, beyond the fence)
    are set aside here, too, where they lie beyond this station's own fence: of such parts nothing
    is promised.

    *Image AUROC.* `auroc_difference`; refused if the whole interval lies below 0. Only with 10 good
    and 10 defective images or more: with fewer it is said that it cannot be told.

    A model with several categories is tested once in each: the 5 % are divided among them, so that
    a good model is refused by chance at most once in twenty times for each of the two tests.
    """
    if space_fault is not None:
        sentence = f"refused: it cannot judge with this station's weights: {space_fault}"
        return Acceptance(False, sentence, (space_fault,), (), compared_with)
    verdict = _Verdict(active or {}, max(1, len(new)), unknown)
    figures = {name: verdict.category(name, own) for name, own in sorted(new.items())}
    for name in sorted(set(active or {}) - set(new)):
        verdict.refusals.append(
            f"{name}: it does not know this part, which the active model judges"
        )
    accepted = not verdict.refusals
    found = verdict.refusals if verdict.refusals else [_told(figures, bool(active))]
    sentence = f"{'accepted' if accepted else 'refused'}: {'; '.join(found)}"
    if verdict.unknown:
        sentence += f" (cannot be told: {'; '.join(verdict.unknown)})"
    return Acceptance(
        accepted,
        sentence,
        tuple(verdict.refusals),
        tuple(verdict.unknown),
        compared_with,
        figures,
    )


class _Verdict:
    """Collects what speaks against a model, and what cannot be told."""

    def __init__(
        self, active: Mapping[str, JudgedImages], categories: int, unknown: Sequence[str]
    ) -> None:
        self.active = active
        self.surprise = (1 - CONFIDENCE) / categories
        self.refusals: list[str] = []
        self.unknown = list(unknown)

    def category(self, name: str, own: JudgedImages) -> dict[str, Any]:
        """Judge one category; return its figures."""
        return {
            **self._false_alarms(name, own),
            **self._detection(own),
            **self._auroc(name, own),
        }

    def _false_alarms(self, name: str, own: JudgedImages) -> dict[str, Any]:
        from scipy import stats

        figures: dict[str, Any] = {"held_out_images": len(own.held_out)}
        if own.threshold is None or not len(own.held_out):
            what = "no threshold" if own.threshold is None else "no held-out good part"
            self.unknown.append(f"{name} has {what}, so no false alarms were counted")
            return figures
        limit = float(own.threshold["value"])
        promised = float(own.threshold["promised_false_alarm_rate"])
        divided = within_fence(own.held_out)
        told = int(own.threshold.get("suspicious_held_out", 0))
        beyond = _above(divided.beyond, limit)
        aside = min(told, beyond)
        images = len(own.held_out) - aside
        alarms = _above(own.held_out, limit) - aside
        probability = float(stats.binom.sf(alarms - 1, images, promised))
        most = int(stats.binom.isf(self.surprise, images, promised))
        figures |= {
            "false_alarms": alarms,
            "most_false_alarms": most,
            "promised_false_alarm_rate": promised,
            "p_false_alarms": probability,
            "set_aside": aside,
        }
        if probability < self.surprise:
            self.refusals.append(
                f"{name}: {alarms} of {images} held-out good parts lie above the threshold; "
                f"{percent(promised)} are promised, and up to {most} would be chance "
                f"({CONFIDENCE:.0%} bound)"
            )
        elif stats.binom.sf(images - 1, images, promised) >= self.surprise:
            self.unknown.append(
                f"{name} has {_count(images, 'held-out good part')}, too few for any number of "
                f"false alarms to contradict a promise of {percent(promised)}"
            )
        return figures

    def _detection(self, own: JudgedImages) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for what, scores, above in (
            ("test_good", own.good, "test_good_false_alarms"),
            ("test_defective", own.defective, "test_detections"),
        ):
            if len(scores):
                figures[what] = len(scores)
                if own.threshold is not None:
                    limit = float(own.threshold["value"])
                    figures[above] = _above(scores, limit)
        return figures

    def _auroc(self, name: str, own: JudgedImages) -> dict[str, Any]:
        good, defective = len(own.good), len(own.defective)
        if not good or not defective:
            return {}
        figures = {"auroc": _auc(own)}
        known = self.active.get(name)
        if known is None or (len(known.good), len(known.defective)) != (good, defective):
            return figures
        figures["auroc_active"] = _auc(known)
        if min(good, defective) < FEWEST_IMAGES:
            self.unknown.append(
                f"{name} has {_count(good, 'good test image')} and {defective} defective, too "
                f"few to compare its image AUROC with the active model's (at least {FEWEST_IMAGES} "
                f"each)"
            )
            return figures
        found = auroc_difference(
            (own.good, own.defective), (known.good, known.defective), 1 - self.surprise
        )
        figures |= {
            "auroc_difference": found.value,
            "auroc_difference_low": found.low,
            "auroc_difference_high": found.high,
        }
        if found.high < 0:
            self.refusals.append(
                f"{name}: its image AUROC is {figures['auroc']:.3f}, the active model's "
                f"{figures['auroc_active']:.3f}; the difference lies between {found.low:.3f} and "
                f"{found.high:.3f} ({CONFIDENCE:.0%} paired bootstrap of {good + defective} images)"
            )
        return figures


def _above(scores: Iterable[float], limit: float) -> int:
    return sum(bool(score > limit) for score in scores)


def _auc(images: JudgedImages) -> float:
    from common.evaluation.image_scores import auc_roc

    labels = [0] * len(images.good) + [1] * len(images.defective)
    return float(auc_roc(labels, [*images.good, *images.defective]))


def _told(figures: Mapping[str, dict[str, Any]], compared: bool) -> str:
    """What speaks for a model that is accepted."""
    counted = [own for own in figures.values() if "false_alarms" in own]
    words = []
    if counted:
        alarms, images = (
            sum(own[key] for own in counted) for key in ("false_alarms", "held_out_images")
        )
        words.append(
            f"{alarms} of {images} held-out good parts lie above the threshold, within the promise"
        )
    measured = [(name, own) for name, own in sorted(figures.items()) if "auroc_difference" in own]
    if measured:
        each = ", ".join(
            f"{name} {own['auroc']:.3f} ({own['auroc_active']:.3f})" for name, own in measured
        )
        words.append(f"image AUROC is not below the active model's beyond chance: {each}")
    if not compared:
        words.append("no model was active before it")
    return "; ".join(words) or "nothing speaks against it"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
