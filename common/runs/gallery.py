"""Best and worst cases of a run as pictures with heat maps, for the report.

Only for images on this machine: a run of real stations has none, and its report no gallery.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.analysis import GalleryPicture, visualize_anomaly_map
from common.data.defects import load_regions
from common.data.images import read_image
from common.data.layout import DataIndex, Sample
from common.patchcore import PatchCore
from common.patchcore.model_store import SHARED
from common.patchcore.network.feature_cache import FeatureCache
from common.paths import cache_folder
from common.runs.baseline import CACHE_BYTES

LOOKED_AT: Final = 40


@dataclass(frozen=True)
class Case:
    """One judged test image.

    Attributes
    ----------
    sample : Sample
    score : float
        The image score.
    level : float
        What the score is measured by: the category's threshold, or without one the median score
        of its good test images.
    """

    sample: Sample
    score: float
    level: float

    @property
    def margin(self) -> float:
        """Times that the score is on its right side: above 1 judged rightly, below 1 wrongly."""
        ratio = self.score / self.level if self.level > 0 else 1.0
        return ratio if self.sample.label else 1.0 / max(ratio, 1e-9)


def best_and_worst(
    run_dir: Path, index: DataIndex, count: int = 3, looked_at: int = LOOKED_AT
) -> list[GalleryPicture]:
    """Draw the cases that a run's model judges most and least rightly.

    Parameters
    ----------
    run_dir : Path
        A finished run with a model.
    index : DataIndex
        The data folder that it was evaluated on.
    count : int
        Cases of each group: best detections, worst misses, worst false alarms.
    looked_at : int
        Test images of each category and defect type that are looked at, evenly spaced; the
        pictures say how many that were in all.

    Returns
    -------
    list of GalleryPicture
        Best first; a case is best or worst by its score over (good images: under) the threshold.
        Each group shows a category and defect type once.

    Notes
    -----
    Each image is judged from the shared feature cache; maps of the chosen cases alone are kept.
    """
    run = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    cache = FeatureCache(cache_folder("simulation", "features"), CACHE_BYTES)
    model = PatchCore.load(run_dir, cache=cache, device=run["settings"]["device"])
    cases = [
        case
        for category in index.categories
        if SHARED in model.banks or category in model.banks
        for case in _judge_category(model, index, category, looked_at)
    ]
    found = f"{run['method']}, seed {run['seed']}; chosen from {len(cases)} test images"
    defective = sorted((case for case in cases if case.sample.label), key=lambda one: -one.margin)
    good = sorted((case for case in cases if not case.sample.label), key=lambda one: one.margin)
    best = _of_different_kinds(defective, count)
    missed = _of_different_kinds([one for one in defective[::-1] if one not in best], count)
    groups = (
        (f"Best: defects farthest above the threshold ({found})", best),
        (f"Worst: defects lowest against the threshold ({found})", missed),
        (
            f"Worst: good parts highest against the threshold ({found})",
            _of_different_kinds(good, count),
        ),
    )
    return [_picture(model, index, case, heading) for heading, chosen in groups for case in chosen]


def _judge_category(
    model: PatchCore, index: DataIndex, category: str, looked_at: int
) -> list[Case]:
    samples = index.select("test", category)
    chosen = [
        sample
        for name in dict.fromkeys(sample.defect_type for sample in samples)
        for sample in _spaced([one for one in samples if one.defect_type == name], looked_at)
    ]
    predictions = model.predict_each([sample.path for sample in chosen], category)
    scores = [prediction.score for prediction in predictions]
    good = [score for score, one in zip(scores, chosen, strict=True) if one.label == 0]
    level = model.thresholds.get(category, {}).get("value")
    if level is None:
        level = float(np.median(good)) if good else float(np.median(scores)) if scores else 0.0
    return [Case(sample, score, float(level)) for sample, score in zip(chosen, scores, strict=True)]


def _of_different_kinds(cases: Sequence[Case], count: int) -> list[Case]:
    """The first cases, one of each category and defect type: ten alike would teach nothing."""
    kinds: dict[tuple[str, str], Case] = {}
    for case in cases:
        kinds.setdefault((case.sample.category, case.sample.defect_type), case)
    return list(kinds.values())[:count]


def _spaced(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many, evenly over the sequence."""
    if len(samples) <= most:
        return list(samples)
    return [samples[i] for i in np.linspace(0, len(samples) - 1, most).round().astype(int)]


def _picture(model: PatchCore, index: DataIndex, case: Case, group: str) -> GalleryPicture:
    sample = case.sample
    image = np.asarray(read_image(sample.path))
    prediction = model.predict_single(sample.path, sample.category)
    threshold = model.thresholds.get(sample.category, {}).get("value")
    measured = f"threshold {threshold:.3g}" if threshold else f"typical good {case.level:.3g}"
    alarm = case.score > case.level
    verdict = {
        (1, True): "detected",
        (1, False): "missed",
        (0, True): "false alarm",
        (0, False): "rightly passed",
    }[(sample.label, alarm)]
    # Every map has its category's scale; below half the threshold there is nothing to see.
    figure = visualize_anomaly_map(
        image,
        prediction.anomaly_map,
        mask=_mask(index, sample, image.shape[:2]),
        limits=(0.5 * case.level, max(1.3 * case.level, case.score)),
        threshold=threshold,
    )
    return GalleryPicture(
        group=group,
        title=f"{sample.category}, {sample.defect_type}, {sample.path.name}",
        text=f"score {case.score:.3g}, {measured}: {verdict}",
        picture=figure,
    )


def _mask(index: DataIndex, sample: Sample, size: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """All defect regions of an image together; None without ground truth."""
    regions = load_regions(sample, index.categories[sample.category], (size[0], size[1]))
    if not regions:
        return None
    return np.logical_or.reduce([region.mask for region in regions])
