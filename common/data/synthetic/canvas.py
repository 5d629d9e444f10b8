"""The drawing surface: painting shaded fragments, soft shadows, relief and region masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from common.data.synthetic.light import FloatArray, Light, Material


@dataclass(frozen=True)
class Fragments:
    """The drawn points of one shape, as flat lists; nothing is stored for points outside it.

    Attributes
    ----------
    index : array of shape (n,), intp
        Position in the flattened oversampled canvas; no position twice.
    alpha : array of shape (n,), float32
        Coverage, above 0 and at most 1.
    u, v : arrays of shape (n,), float32
        Coordinates on the shape; their meaning is the shape's.
    slope_x, slope_y : arrays of shape (n,), float32
        Rise of the surface towards the camera, to the right and downwards.
    along_x, along_y : arrays of shape (n,), float32
        Unit direction of the shape's own long axis at each point.
    """

    index: NDArray[np.intp]
    alpha: FloatArray
    u: FloatArray
    v: FloatArray
    slope_x: FloatArray
    slope_y: FloatArray
    along_x: FloatArray
    along_y: FloatArray

    def where(self, keep: NDArray[np.bool_]) -> Fragments:
        """Only the fragments for which `keep` is true."""
        return Fragments(**{name: values[keep] for name, values in vars(self).items()})

    def tilted(self, along: FloatArray | float, across: FloatArray | float = 0.0) -> Fragments:
        """The same points with slopes added along the long axis and across it."""
        return replace(
            self,
            slope_x=self.slope_x + along * self.along_x - across * self.along_y,
            slope_y=self.slope_y + along * self.along_y + across * self.along_x,
        )

    def faded(self, factor: FloatArray | float) -> Fragments:
        """The same points, less opaque."""
        return replace(self, alpha=self.alpha * factor)


@dataclass(frozen=True)
class Pose:
    """Where the camera stood: a shift, a turn and a zoom about the centre of the picture."""

    shift: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    zoom: float = 1.0


class Canvas:
    """An oversampled picture; lengths are in picture heights, x to the right, y downwards.

    Parameters
    ----------
    size : tuple of int
        (height, width) of the finished picture in pixels.
    oversample : int
        Drawn points per finished pixel, along each side.
    light : Light
        Shades everything painted.
    pose : Pose
        Applied to all positions given to the shapes.
    """

    def __init__(self, size: tuple[int, int], oversample: int, light: Light, pose: Pose) -> None:
        self.size = size
        self.oversample = oversample
        self.light = light
        self.pose = pose
        self.rows, self.columns = size[0] * oversample, size[1] * oversample
        self.pixel = 1.0 / self.rows
        self.width = self.columns / self.rows
        self.colours = np.zeros((3, self.rows * self.columns), dtype=np.float32)

    def place(self, points: FloatArray) -> FloatArray:
        """Positions (n, 2) of the scene as positions in the picture."""
        centre = np.array([self.width / 2.0, 0.5])
        cosine, sine = np.cos(self.pose.angle), np.sin(self.pose.angle)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        moved = (np.asarray(points, dtype=np.float64) - centre) @ turn * self.pose.zoom
        return np.asarray(moved + centre + np.asarray(self.pose.shift))

    def position(self, index: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Coordinates x and y of flat canvas positions."""
        row, column = np.divmod(index, self.columns)
        x = (column.astype(np.float32) + 0.5) * self.pixel
        y = (row.astype(np.float32) + 0.5) * self.pixel
        return x, y

    def noise(self, rng: np.random.Generator, cells: tuple[float, float]) -> FloatArray:
        """Smooth noise with `cells` (down, across) lumps per picture height, flat, about unit size.

        Drawn as one random number per lump and interpolated; a lump is never finer than two points.
        """
        down = int(np.clip(round(cells[0]), 2, self.rows // 2))
        across = int(np.clip(round(cells[1] * self.width), 2, self.columns // 2))
        lumps = Image.fromarray(rng.standard_normal((down, across)).astype(np.float32))
        smooth = lumps.resize((self.columns, self.rows), Image.Resampling.BICUBIC)
        return np.asarray(smooth, dtype=np.float32).ravel()

    def fill(self, material: Material, texture: FloatArray) -> None:
        """Cover all with a flat surface; `texture` (rows * columns,) multiplies its colour."""
        np.copyto(self.colours, material.tinted(texture))

    def paint(
        self,
        shape: Fragments,
        material: Material,
        *,
        texture: FloatArray | float = 1.0,
        albedo: FloatArray | None = None,
        lift: float = 0.0,
    ) -> None:
        """Lay a shaded surface over what is there.

        Parameters
        ----------
        shape : Fragments
            Where and how steep.
        material : Material
            Colour and gloss.
        texture : array of shape (n,) or float
            Multiplies the colour.
        albedo : array of shape (3, n), optional
            Replaces the material's colour.
        lift : float
            Height above the ground, which throws a soft shadow; 0 throws none.
        """
        if shape.index.size == 0:
            return
        if lift > 0.0:
            self.shadow(shape, lift)
        base = material.tinted(texture) if albedo is None else albedo
        colour = self.light.shade(shape.slope_x, shape.slope_y, material, base)
        for channel, new in zip(self.colours, colour, strict=True):
            below = channel[shape.index]
            channel[shape.index] = below + shape.alpha * (new - below)

    def relief(self, shape: Fragments, depth: float = 1.0) -> None:
        """Press a shape into the surface that is there: its slopes are lit, its colour stays."""
        flat = Material((1.0, 1.0, 1.0), specular=0.12, shininess=25.0)
        white = np.ones((1, 1), dtype=np.float32)
        lit = self.light.shade(depth * shape.slope_x, depth * shape.slope_y, flat, white)
        level = self.light.shade(np.zeros(1), np.zeros(1), flat, white)
        factor = 1.0 + shape.alpha * (lit[0] / level[0] - 1.0)
        for channel in self.colours:
            channel[shape.index] *= factor

    def shadow(self, shape: Fragments, lift: float, strength: float = 0.55) -> None:
        """Darken the ground beside a shape that stands `lift` above it.

        The coverage is blurred on a coarse grid: a shadow has no fine detail.
        """
        if shape.index.size == 0:
            return
        x, y, z = (float(part) for part in self.light.direction)
        reach = lift / self.pixel
        step = max(2, self.rows // 96)
        sigma = max(0.7, 0.45 * reach / step)
        margin = int(np.ceil(3.0 * sigma))
        row, column = np.divmod(shape.index, self.columns)
        row = (row - round(y / z * reach)) // step
        column = (column - round(x / z * reach)) // step
        top, left = int(row.min()) - margin, int(column.min()) - margin
        down = int(row.max()) + margin + 1 - top
        across = int(column.max()) + margin + 1 - left
        cell = (row - top) * across + column - left
        points = np.bincount(cell, weights=shape.alpha, minlength=down * across)
        cover = points.reshape(down, across).astype(np.float32) / np.float32(step * step)
        cover = ndimage.gaussian_filter(cover, sigma, truncate=3.0, mode="constant")
        dark = Image.fromarray(cover).resize(
            (across * step, down * step), Image.Resampling.BILINEAR
        )
        first_row, first_column = max(top, 0) * step, max(left, 0) * step
        picture = self.colours.reshape(3, self.rows, self.columns)
        ground = picture[:, first_row : (top + down) * step, first_column : (left + across) * step]
        factor = 1.0 - np.float32(strength) * np.asarray(dark)
        factor = factor[first_row - top * step :, first_column - left * step :]
        ground *= factor[: ground.shape[1], : ground.shape[2]]

    def mask(self, shapes: Iterable[Fragments]) -> NDArray[np.bool_]:
        """Pixels of the finished picture that the shapes cover by at least half, (H, W) bool."""
        cover = np.zeros(self.rows * self.columns, dtype=np.float32)
        for shape in shapes:
            cover[shape.index] = np.maximum(cover[shape.index], shape.alpha)
        return np.asarray(self._shrink(cover)[0] >= 0.5)

    def picture(self) -> FloatArray:
        """What was painted, at the finished size: (3, H, W) float32."""
        return self._shrink(self.colours)

    def _shrink(self, values: FloatArray) -> FloatArray:
        """Average the drawn points (c, rows * columns) of every finished pixel, (c, H, W)."""
        step, (height, width) = self.oversample, self.size
        blocks = values.reshape(-1, height, step, width, step)
        total = sum(blocks[:, :, i, :, j] for i in range(step) for j in range(step))
        return np.asarray(total / np.float32(step * step), dtype=np.float32)
