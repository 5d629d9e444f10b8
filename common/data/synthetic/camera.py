"""From a drawn scene to a photograph: uneven light, colour cast, blur, sensor noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from common.data.synthetic.canvas import Canvas, Pose
from common.data.synthetic.light import Light


def stand(rng: np.random.Generator, size: tuple[int, int], oversample: int) -> Canvas:
    """An empty canvas seen by a camera that never stands quite where it stood before."""
    light = Light.sample(rng)
    pose = Pose(
        shift=(float(rng.uniform(-0.018, 0.018)), float(rng.uniform(-0.018, 0.018))),
        angle=float(np.deg2rad(rng.uniform(-2.2, 2.2))),
        zoom=float(rng.uniform(0.985, 1.02)),
    )
    return Canvas(size, oversample, light, pose)


def photograph(canvas: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Develop a canvas.

    Parameters
    ----------
    canvas : Canvas
        The finished drawing.
    rng : numpy Generator
        Draws exposure, light fall-off, colour cast, blur and noise.

    Returns
    -------
    array of shape (H, W, 3), uint8
    """
    height, width = canvas.size
    picture = canvas.picture()
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    exposure = rng.uniform(0.88, 1.10)
    tilt_x, tilt_y = rng.uniform(-0.10, 0.10, size=2)
    spot_x, spot_y = rng.uniform(-0.7, 0.7, size=2)
    distance = (x - spot_x) ** 2 + (y - spot_y) ** 2
    spot = rng.uniform(0.0, 0.16) * np.exp(-distance / 0.5)
    field = exposure * (1.0 + tilt_x * x + tilt_y * y + spot) * (1.0 - 0.09 * (x * x + y * y))
    warmth = rng.uniform(-0.035, 0.035)
    cast = np.array([1.0 + warmth, 1.0, 1.0 - warmth], dtype=np.float32)[:, None, None]
    picture = picture * field.astype(np.float32) * cast
    # Highlights bend over towards white before the sensor is full.
    bright = picture > 0.8
    picture[bright] = 1.0 - 0.2 * np.exp((0.8 - picture[bright]) / 0.2)
    # The lens blurs by a share of the picture, so a large picture of the same scene looks alike.
    sigma = rng.uniform(0.35, 0.75) * (height / 240.0) ** 0.5
    picture = ndimage.gaussian_filter(picture, (0.0, sigma, sigma), truncate=3.0)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    # Photon noise grows with the root of the light; the rest is the read-out's.
    strength = np.float32(rng.uniform(0.006, 0.012))
    picture += strength * np.sqrt(np.maximum(picture, 0.0) + 0.12) * grain
    levels = np.clip(picture * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
