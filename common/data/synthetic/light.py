"""Light and materials: what colour a surface point has, given its slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Colour: TypeAlias = tuple[float, float, float]

_AMBIENT = 0.42


@dataclass(frozen=True)
class Material:
    """How a surface answers light.

    Attributes
    ----------
    colour : tuple of three floats
        Red, green, blue in 0..1.
    specular : float
        Strength of the white highlight.
    shininess : float
        Sharpness of that highlight: 5 is dull rubber, 120 is wet paint.
    metal : float
        Share of the surface's own colour that mirrors the surroundings instead of scattering, 0..1.
    """

    colour: Colour
    specular: float = 0.25
    shininess: float = 30.0
    metal: float = 0.0

    def tinted(self, gain: FloatArray | float) -> FloatArray:
        """The colour times a factor per fragment (or one factor), shape (3, n) or (3, 1)."""
        factor = np.atleast_1d(np.asarray(gain, dtype=np.float32))
        return np.asarray(self.colour, dtype=np.float32)[:, None] * factor


@dataclass(frozen=True)
class Light:
    """One lamp far away and the surroundings that metal mirrors.

    Attributes
    ----------
    direction : array of shape (3,)
        Unit vector towards the lamp; x to the right, y downwards, z towards the camera.
    phase, band : float
        Where the bright and dark parts of the mirrored surroundings lie.
    """

    direction: FloatArray
    phase: float
    band: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Light:
        """A lamp at the upper left, moved about a little from image to image."""
        azimuth = np.deg2rad(-120.0 + rng.uniform(-28.0, 28.0))
        height = np.deg2rad(rng.uniform(48.0, 66.0))
        direction = np.array(
            [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)],
            dtype=np.float32,
        )
        return cls(direction, float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, -0.2)))

    def shade(
        self, slope_x: FloatArray, slope_y: FloatArray, material: Material, albedo: FloatArray
    ) -> FloatArray:
        """Colour of surface points.

        Parameters
        ----------
        slope_x, slope_y : arrays of shape (n,)
            Rise of the surface towards the camera, per unit to the right and downwards.
        material : Material
            How the surface answers light; its own colour is not read.
        albedo : array of shape (3, n) or (3, 1)
            Colour of each point.

        Returns
        -------
        array of shape (3, n), float32
            0 is black, 1 is white; highlights may be above 1.
        """
        up = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
        right, down = -slope_x * up, -slope_y * up
        lamp_x, lamp_y, lamp_z = (float(part) for part in self.direction)
        facing = np.maximum(right * lamp_x + down * lamp_y + up * lamp_z, 0.0) / lamp_z
        body = _AMBIENT + (1.0 - _AMBIENT) * facing
        if material.metal > 0.0:
            mirrored = self._surroundings(2.0 * up * right, 2.0 * up * down)
            body = (1.0 - material.metal) * body + material.metal * mirrored
        colour = albedo * body
        if material.specular > 0.0:
            # Blinn's half vector between lamp and camera; the exponential is his power for small
            # angles and several times cheaper.
            half = self.direction + np.array([0.0, 0.0, 1.0], dtype=np.float32)
            half = half / np.linalg.norm(half)
            along = right * half[0] + down * half[1] + up * half[2]
            glint = material.specular * np.exp(material.shininess * (along - 1.0))
            colour = colour + glint
        return np.asarray(colour, dtype=np.float32)

    def _surroundings(self, right: FloatArray, down: FloatArray) -> FloatArray:
        """Brightness seen in the mirrored direction: a hall with one long lamp and a dark floor."""
        hall = 0.82 + 0.36 * np.sin(2.4 * down + 1.3 * right + np.pi + self.phase)
        lamp = 0.75 * np.exp(-(((down - self.band) / 0.16) ** 2))
        return np.asarray(hall + lamp, dtype=np.float32)
