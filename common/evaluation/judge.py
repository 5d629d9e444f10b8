"""Test images through a model into an evaluation, image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from common.data.defects import load_regions
from common.data.layout import DataIndex, Sample
from common.evaluation.exact import ExactEvaluation
from common.evaluation.mergeable.counts import EvaluationCounts
from common.patchcore import PatchCore, Prediction

Evaluation = TypeVar("Evaluation", EvaluationCounts, ExactEvaluation)
Watcher = Callable[[Sample, Prediction], None]


def evaluate_samples(
    model: PatchCore,
    index: DataIndex,
    samples: Sequence[Sample],
    evaluation: Evaluation,
    watch: Watcher | None = None,
) -> Evaluation:
    """Judge test images of one category and count the outcome.

    Parameters
    ----------
    model : PatchCore
    index : DataIndex
        Of the folder that the samples come from.
    samples : sequence of Sample
        All of one category; may be empty.
    evaluation : EvaluationCounts or ExactEvaluation
        Updated in place.
    watch : callable (sample, prediction), optional
        Called for every image, for progress and for saving maps.

    Returns
    -------
    EvaluationCounts or ExactEvaluation
        The one given.

    Notes
    -----
    One map is in memory at a time, beside what the evaluation keeps.
    """
    if not samples:
        return evaluation
    category = index.categories[samples[0].category]
    predictions = model.predict_each([sample.path for sample in samples], category.name)
    for sample, prediction in zip(samples, predictions, strict=True):
        height, width = prediction.anomaly_map.shape
        evaluation.update(
            prediction.anomaly_map,
            load_regions(sample, category, (height, width)),
            label=sample.label,
            score=prediction.score,
            defect_type=sample.defect_type,
        )
        if watch is not None:
            watch(sample, prediction)
    return evaluation
