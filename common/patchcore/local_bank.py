"""One station's part of the work: from its training images to its local memory bank."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from common.patchcore.coreset import Coreset, select_coreset
from common.patchcore.distances import Distances
from common.patchcore.estimate import Estimate
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.network.augmentation import sizes_with_copies
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput

Progress = Callable[[int, int], None]

#: Bytes of one image's rows from which on they wait in their file: a process may map 65,530.
_WORTH_WAITING = 1 << 20


@dataclass(frozen=True)
class LocalBank:
    """Rows of a coreset with what they cover.

    Attributes
    ----------
    rows : array of shape (k, d), float16 or float32
        Patch features in farthest-first order.
    radii : array of shape (k,), float64
        Euclidean distance of the worst-covered patch after each row; in the projected space if a
        projection was used.
    patches : int
        Patches that the rows were chosen from.
    """

    rows: NDArray[np.floating]
    radii: NDArray[np.float64]
    patches: int


def row_budget(ratio: float, patches: int) -> int:
    """Most rows that a local coreset of so many patches may have: ceil(ratio x patches)."""
    return max(1, math.ceil(ratio * patches - 1e-9))


def bank_patches(space: FeatureSpace, size: tuple[int, int], augment: str) -> int:
    """Patches that a training image of this (height, width) brings, with its copies."""
    sizes = sizes_with_copies(size, augment)
    return sum(math.prod(space.patch_grid(seen)) for seen in sizes)


def build_local_bank(
    source: FeatureSource,
    images: Sequence[ImageInput],
    budget: int,
    distances: Distances,
    dtype: DTypeLike = np.float16,
    centers: NDArray[np.floating] | None = None,
    stop_radius: float | None = None,
    progress: Progress | None = None,
) -> LocalBank:
    """Choose at most `budget` patches of these images, farthest first.

    Parameters
    ----------
    source : FeatureSource
        With a cache no image is computed twice.
    images : sequence of ImageInput
        Good training images, with their copies where the bank has some (`with_copies`).
    budget : int
        Rows wanted, at least 1.
    distances : Distances
        The first row is drawn by its seed.
    dtype : float16 or float32
        Number format of the rows; features are rounded to it before anything else, so that the
        station measures with the very rows that it will send.
    centers : array of shape (m, d), optional
        Rows that exist already (the global bank of the round before).
    stop_radius : float, optional
        With `centers`: only rows farther from them than this are worth sending.
    progress : callable (images done, images)

    Returns
    -------
    LocalBank

    Raises
    ------
    InputError
        Naming the image that cannot be read.
    ValueError
        Without an image.

    Notes
    -----
    Two peaks, one after the other. While images are read: the network and a few images. While rows
    are chosen: the projected patches, 4 bytes x components each (4 x d without a projection), 20
    bytes of state each, and the weights. Whole features stay on disk, in the source's cache, and
    projected ones wait there until all images are read; without a cache, or where it keeps
    too little, they wait in memory, and the peaks add up.

    All features of a bank are computed by one device: if a GPU fails on the way, all is done again
    by the CPU.

    Disk: 2 bytes x d a patch in float16, and 4 bytes x components; the cache's owner cleans up.
    """
    if not images:
        raise ValueError("a local bank needs at least one image")

    def build() -> LocalBank:
        reading = Estimate("training images read", progress)
        projected, counts = project_all(source, images, distances, dtype, reading)
        device = source.extractor.device
        coreset = _select(projected, budget, distances, centers, stop_radius, device)
        del projected
        rows = _gather(source, images, counts, coreset.indices, dtype)
        return LocalBank(rows, coreset.radii, int(sum(counts)))

    return source.whole(build)


def covering_radius(
    source: FeatureSource,
    images: Sequence[ImageInput],
    bank: NDArray[np.floating],
    distances: Distances,
    dtype: DTypeLike = np.float16,
) -> float:
    """Distance of the patch of these images that lies farthest from a bank.

    Parameters
    ----------
    bank : array of shape (m, d)

    Returns
    -------
    float
        Euclidean, in the space of `distances`; 0 without images.
    """
    search = MemoryBank(distances(bank), device=source.extractor.device)
    view = distances.view(source.extractor.feature_dim)
    worst = 0.0
    for features in source.stream(images, dtype, view):
        rows = np.asarray(features.reshape(-1, features.shape[-1]), dtype=np.float32)
        nearest, _ = search.nearest(rows)
        worst = max(worst, float(np.max(nearest)))
    return worst


def project_all(
    source: FeatureSource,
    images: Sequence[ImageInput],
    distances: Distances,
    dtype: DTypeLike,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], list[int]]:
    """Fill one array image by image: its size is known from the image headers and the grid.

    Parameters are those of `build_local_bank`.

    Returns
    -------
    patches : array of shape (n, p), float32
        All images' patches in the space of the distances.
    counts : list of int
        How many of them each image has.

    Notes
    -----
    Rows that lie in a file of the cache are fetched when the last image has gone through the
    network: until then the array needs no memory for them.
    """
    space, dim = source.extractor.space, source.extractor.feature_dim
    counts = [math.prod(space.patch_grid(image.file_size)) for image in images]
    width = distances.width(dim)
    projected = np.empty((sum(counts), width), dtype=np.float32)
    waiting: list[tuple[int, NDArray[np.floating]]] = []
    end = 0
    streamed = source.stream(images, dtype, distances.view(dim))
    for done, (count, features) in enumerate(zip(counts, streamed, strict=True), start=1):
        start, end = end, end + count
        rows = features.reshape(-1, width)
        if isinstance(rows, np.memmap) and rows.nbytes >= _WORTH_WAITING:
            waiting.append((start, rows))
        else:
            projected[start:end] = rows
        if progress is not None:
            progress(done, len(images))
    source.rest()
    while waiting:
        start, rows = waiting.pop()
        projected[start : start + len(rows)] = rows
        del rows  # unmaps its file, whose pages would count as memory, too
    return projected, counts


def _select(
    projected: NDArray[np.float32],
    budget: int,
    distances: Distances,
    centers: NDArray[np.floating] | None,
    stop_radius: float | None,
    device: torch.device,
) -> Coreset:
    if centers is not None and len(centers):
        return select_coreset(
            projected,
            budget,
            centers=distances(centers),
            stop_radius=stop_radius,
            progress=Estimate("rows chosen"),
            device=device,
        )
    start = np.random.default_rng(distances.seed)
    return select_coreset(
        projected, budget, rng=start, progress=Estimate("rows chosen"), device=device
    )


def _gather(
    source: FeatureSource,
    images: Sequence[ImageInput],
    counts: list[int],
    indices: NDArray[np.int64],
    dtype: DTypeLike,
) -> NDArray[np.floating]:
    """Rows of the chosen patches, in order of choice; opens only the images that have some."""
    ends = np.cumsum(counts)
    owner = np.searchsorted(ends, indices, side="right")
    needed = np.unique(owner)
    rows = np.empty((len(indices), source.extractor.feature_dim), dtype=dtype)
    streamed: Iterator[NDArray[np.floating]] = source.stream([images[i] for i in needed], dtype)
    for image, features in zip(needed, streamed, strict=True):
        chosen = np.flatnonzero(owner == image)
        flat = features.reshape(-1, features.shape[-1])
        rows[chosen] = flat[indices[chosen] - (ends[image] - counts[image])]
    return rows
