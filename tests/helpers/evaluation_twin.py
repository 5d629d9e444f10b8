"""The definitions written down as they are read: slow, and obviously right."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.data.regions import Region


class Shot(NamedTuple):
    """One test image as the evaluations take it."""

    anomaly_map: NDArray[np.float32]
    regions: list[Region] | None
    label: int
    score: float
    defect_type: str


def add_all(evaluation, shots):
    for shot in shots:
        evaluation.update(
            shot.anomaly_map,
            shot.regions,
            label=shot.label,
            score=shot.score,
            defect_type=shot.defect_type,
        )
    return evaluation


def in_scope(shot: Shot, types: set[str] | None) -> bool:
    """Good images, and those with a region of the types (without regions: their folder)."""
    if types is None or shot.label == 0:
        return True
    own = {region.defect_type for region in shot.regions or []} or {shot.defect_type}
    return bool(own & types)


def normal_mask(shot: Shot) -> NDArray[np.bool_]:
    outside = np.ones(shot.anomaly_map.shape, dtype=bool)
    for region in shot.regions or []:
        outside &= ~region.mask
    return outside


def curve(shots: list[Shot], types: set[str] | None = None):
    """(FPR, mean sPRO) at every distinct score and below the lowest one, threshold by threshold."""
    chosen = [shot for shot in shots if shot.regions is not None and in_scope(shot, types)]
    scores = np.unique(np.concatenate([shot.anomaly_map.ravel() for shot in chosen]))
    points = []
    for threshold in [*scores[::-1], -np.inf]:
        false_positives = normal_pixels = 0
        spros = []
        for shot in chosen:
            positive = shot.anomaly_map > threshold
            outside = normal_mask(shot)
            false_positives += int((positive & outside).sum())
            normal_pixels += int(outside.sum())
            for region in shot.regions:
                if types is None or region.defect_type in types:
                    hits = int((positive & region.mask).sum())
                    spros.append(min(hits, region.saturation_area) / region.saturation_area)
        points.append((false_positives / normal_pixels, float(np.mean(spros))))
    return points


def auc_spro(points, limit: float) -> float:
    """Trapezoid rule from FPR 0 to the limit, the last piece cut off by a straight line."""
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def pixel_auc_roc(shots: list[Shot], types: set[str] | None = None) -> float:
    """Share of (normal, anomalous) pixel pairs in the right order, ties one half."""
    normal, anomalous = [], []
    for shot in shots:
        if shot.regions is None or not in_scope(shot, types):
            continue
        normal.append(shot.anomaly_map[normal_mask(shot)])
        inside = np.zeros(shot.anomaly_map.shape, dtype=bool)
        for region in shot.regions:
            if types is None or region.defect_type in types:
                inside |= region.mask
        anomalous.append(shot.anomaly_map[inside])
    low, high = np.concatenate(normal), np.concatenate(anomalous)
    pairs = (high[:, None] > low[None, :]).sum() + 0.5 * (high[:, None] == low[None, :]).sum()
    return float(pairs / (low.size * high.size))
