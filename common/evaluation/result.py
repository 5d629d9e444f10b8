"""What an evaluation yields, and how both evaluations fill it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.evaluation.curve import (
    FPR_LIMITS,
    Curve,
    Levels,
    auc_spro,
    auc_spro_bound,
    fpr_spro_curve,
    pixel_auc_roc,
    pixel_auc_roc_bound,
)
from common.evaluation.image_scores import auc_roc, average_precision, tpr_at_tnr
from common.evaluation.images import ImageRecord, labels_and_scores, select_images
from common.evaluation.kinds import LOGICAL, STRUCTURAL, anomaly_kind

TRUE_NEGATIVE_RATES = (0.9, 0.95, 0.99)
"""Rates at which the true positive rate is reported."""

_LOCALIZATION = ("localization.auc_spro", "localization.pixel_auc_roc")
_IMAGE_COUNTS = ("images", "good_images", "defective_images")

Method = Literal["exact", "merged counts"]


@dataclass(frozen=True)
class ScopeResult:
    """Metrics of one scope: all images, one defect type, or one kind of anomaly.

    Attributes
    ----------
    auc_spro : dict of float to float
        By FPR limit; empty if it cannot be computed.
    pixel_auc_roc : float or None
    auc_roc, average_precision : float or None
        Of the image scores: the scope's defective images against all good ones.
    tpr_at_tnr : dict of float to float
        By true negative rate; empty if it cannot be computed.
    counts : dict of str to int
        Images, good and defective images, regions, normal and anomalous pixels; also
        `images_without_masks` where there are such images.
    auc_error_bound : dict of float to float
        By FPR limit: how far `auc_spro` can be from the exact value; 0 for the exact evaluation.
    pixel_auc_roc_error_bound : float or None
    curve : Curve or None
        A few hundred points of the FPR-sPRO curve.
    not_computed : dict of str to str
        Dotted key, such as `localization.auc_spro`, to the reason it is missing.
    """

    auc_spro: dict[float, float] = field(default_factory=dict)
    pixel_auc_roc: float | None = None
    auc_roc: float | None = None
    average_precision: float | None = None
    tpr_at_tnr: dict[float, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    auc_error_bound: dict[float, float] = field(default_factory=dict)
    pixel_auc_roc_error_bound: float | None = None
    curve: Curve | None = None
    not_computed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of one category.

    Attributes
    ----------
    method : "exact" or "merged counts"
    overall : ScopeResult
    per_defect_type, per_anomaly_kind : dict of str to ScopeResult
        Types in alphabetical order; kinds `structural` and `logical`, where they occur.
    kinds : dict of str to str
        Defect type to its kind: structural, logical or unknown.
    image_labels, image_scores : arrays of shape (n,), int8 and float64
        Sorted by label, then score.
    """

    method: Method
    overall: ScopeResult
    per_defect_type: dict[str, ScopeResult]
    per_anomaly_kind: dict[str, ScopeResult]
    kinds: dict[str, str]
    image_labels: NDArray[np.int8]
    image_scores: NDArray[np.float64]


def without_pixels(result: EvaluationResult, why: str) -> EvaluationResult:
    """Leave out all that counts pixels, where only the image scores are those that are meant.

    Parameters
    ----------
    result : EvaluationResult
    why : str
        Told in the place of each figure.
    """

    def left(scope: ScopeResult) -> ScopeResult:
        counts = {key: n for key, n in scope.counts.items() if key in _IMAGE_COUNTS}
        told = {key: text for key, text in scope.not_computed.items() if "localization" not in key}
        return replace(
            scope,
            auc_spro={},
            pixel_auc_roc=None,
            auc_error_bound={},
            pixel_auc_roc_error_bound=None,
            curve=None,
            counts=counts,
            not_computed=told | dict.fromkeys(_LOCALIZATION, why),
        )

    return replace(
        result,
        overall=left(result.overall),
        per_defect_type={name: left(own) for name, own in result.per_defect_type.items()},
        per_anomaly_kind={name: left(own) for name, own in result.per_anomaly_kind.items()},
    )


def evaluate_scopes(
    images: list[ImageRecord],
    levels_of: Callable[[frozenset[str] | None], Levels],
    method: Method,
    kinds: Mapping[str, str] | None,
    breakdown: bool = True,
) -> EvaluationResult:
    """Compute every scope of a category.

    Parameters
    ----------
    images : list of ImageRecord
        In any order.
    levels_of : callable
        Gives the levels of the regions of some types (None: all), the false positives being
        counted over the good images and those with one of the types.
    method : "exact" or "merged counts"
        Decides whether error bounds are computed or zero.
    kinds : mapping of str to str or None
        The user's table for `anomaly_kind`.
    breakdown : bool
        Whether to compute the defect types and kinds too, or the whole category alone.
    """
    types = sorted({name for image in images for name in image.types})
    # Scopes often coincide: with a single defect type they all do.
    known: dict[frozenset[str] | None, ScopeResult] = {}

    def scope(chosen: frozenset[str] | None) -> ScopeResult:
        key = None if chosen == frozenset(types) else chosen
        if key not in known:
            known[key] = _scope_result(select_images(images, key), levels_of(key), method)
        return known[key]

    type_kinds = {name: anomaly_kind(name, kinds) for name in types}
    of_kind = {
        kind: frozenset(name for name in types if type_kinds[name] == kind)
        for kind in (STRUCTURAL, LOGICAL)
    }
    labels, scores = labels_and_scores(sorted(images))
    return EvaluationResult(
        method=method,
        overall=scope(None),
        per_defect_type={name: scope(frozenset([name])) for name in types if breakdown},
        per_anomaly_kind={
            kind: scope(names) for kind, names in of_kind.items() if names and breakdown
        },
        kinds=type_kinds,
        image_labels=labels,
        image_scores=scores,
    )


def _scope_result(images: list[ImageRecord], levels: Levels, method: Method) -> ScopeResult:
    """All metrics of one scope, with a reason for each that is missing."""
    labels, scores = labels_and_scores(images)
    defective = int(labels.sum())
    without_masks = sum(not image.has_masks for image in images)
    counts = {
        "images": len(images),
        "good_images": len(images) - defective,
        "defective_images": defective,
        "regions": levels.regions,
        "normal_pixels": levels.normal_pixels,
        "anomalous_pixels": int(levels.anomalous.sum()),
    }
    if without_masks:
        counts["images_without_masks"] = without_masks
    not_computed = {}
    image_metrics: tuple[float | None, float | None, dict[float, float]] = (None, None, {})
    try:
        image_metrics = (
            auc_roc(labels, scores),
            average_precision(labels, scores),
            {rate: tpr_at_tnr(labels, scores, rate) for rate in TRUE_NEGATIVE_RATES},
        )
    except ValueError as error:
        for key in ("auc_roc", "average_precision", "tpr_at_tnr"):
            not_computed[f"classification.{key}"] = str(error)
    reason = _why_no_localization(levels, len(images), without_masks)
    if reason:
        not_computed |= dict.fromkeys(_LOCALIZATION, reason)
    exact = method == "exact"
    return ScopeResult(
        auc_spro={} if reason else auc_spro(levels),
        pixel_auc_roc=None if reason else pixel_auc_roc(levels),
        auc_roc=image_metrics[0],
        average_precision=image_metrics[1],
        tpr_at_tnr=image_metrics[2],
        counts=counts,
        auc_error_bound={}
        if reason
        else (dict.fromkeys(FPR_LIMITS, 0.0) if exact else auc_spro_bound(levels)),
        pixel_auc_roc_error_bound=None
        if reason
        else (0.0 if exact else pixel_auc_roc_bound(levels)),
        curve=None if reason else fpr_spro_curve(levels),
        not_computed=not_computed,
    )


def _why_no_localization(levels: Levels, n_images: int, without_masks: int) -> str | None:
    """The reason why there is no FPR-sPRO curve, or None if there is one."""
    if n_images == 0:
        return "no test images"
    if without_masks == n_images:
        return "no image has defect masks"
    if levels.regions == 0:
        return "no defect regions"
    if levels.normal_pixels == 0:
        return "no pixel lies outside the defect regions"
    return None
