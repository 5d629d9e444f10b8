"""Random small test sets for hypothesis, with everything that has ever broken an evaluation."""

from __future__ import annotations

import numpy as np
from evaluation_twin import Shot
from hypothesis import strategies as st

from common.data.regions import Region, saturation_area

TYPES = ["missing", "obstruction", "scratch"]


def make_map(rng: np.random.Generator, shape: tuple[int, int], style: str):
    if style == "constant":
        return np.full(shape, 2.5, dtype=np.float32)
    if style == "ties":
        return rng.integers(0, 5, shape).astype(np.float32)
    if style == "signed":
        return rng.normal(0, 1, shape).astype(np.float32)
    if style == "zeros":
        return rng.choice([-0.0, 0.0, 1e-38, 1.0], shape).astype(np.float32)
    if style == "crowded":  # many scores in one bin
        return (1 + rng.random(shape) * 2e-3).astype(np.float32)
    return rng.gamma(3, 1, shape).astype(np.float32)


def make_region(rng: np.random.Generator, shape: tuple[int, int], defect_type: str) -> Region:
    height, width = shape
    top, left = int(rng.integers(height)), int(rng.integers(width))
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + int(rng.integers(1, height + 1)), left : left + int(rng.integers(1, 4))] = True
    area = int(mask.sum())
    if rng.random() < 0.5:
        size = saturation_area(area, float(rng.choice([0.01, 0.3, 0.8, 1.0])), relative=True)
    else:
        size = saturation_area(area, int(rng.integers(1, 12)), relative=False)
    return Region(mask, defect_type, size)


def make_shots(
    seed: int, n_good: int, n_defective: int, style: str, masks: bool = True
) -> list[Shot]:
    rng = np.random.default_rng(seed)
    shots = []
    for number in range(n_good + n_defective):
        shape = (int(rng.integers(1, 9)), int(rng.integers(1, 12)))
        anomaly_map = make_map(rng, shape, style)
        folder = "good" if number < n_good else str(rng.choice(TYPES))
        regions: list[Region] | None = []
        if number >= n_good:
            # Sometimes none at all, sometimes overlapping ones of several types.
            chosen = [folder, *rng.choice(TYPES, 2)][: int(rng.integers(0, 4))]
            regions = [make_region(rng, shape, str(name)) for name in chosen]
        shots.append(
            Shot(
                anomaly_map,
                regions if masks else None,
                int(number >= n_good),
                float(anomaly_map.max()),
                folder,
            )
        )
    return shots


STYLES = ["smooth", "constant", "ties", "signed", "zeros", "crowded"]

shots_strategy = st.builds(
    make_shots,
    seed=st.integers(0, 2**32 - 1),
    n_good=st.integers(0, 3),
    n_defective=st.integers(0, 4),
    style=st.sampled_from(STYLES),
)
