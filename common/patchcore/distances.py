"""How far two patches are apart when coresets are chosen: in a projection, or in full."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.patchcore.exact.projection import project, random_projection


@dataclass(frozen=True)
class Distances:
    """How coreset distances are measured: in a fixed random projection, or in full.

    Attributes
    ----------
    components : int
        Dimensions of the projection; 0 for none.
    seed : int
        Makes the projection the same at every station.
    """

    components: int
    seed: int

    def matrix(self, feature_dim: int) -> NDArray[np.float32] | None:
        """Projection of shape (feature_dim, components), or None."""
        if self.width(feature_dim) == feature_dim:
            return None
        return _projection(feature_dim, self.components, self.seed)

    def width(self, feature_dim: int) -> int:
        """Dimensions in which distances of features of so many numbers are measured."""
        return min(self.components or feature_dim, feature_dim)

    @property
    def name(self) -> str:
        """Names the entries of the features cache that hold projected rows."""
        return f"float32-projected-{self.components}-{self.seed}"

    def view(self, feature_dim: int) -> Distances | None:
        """Return what the features cache should keep beside the features: None if they will do."""
        return self if self.width(feature_dim) < feature_dim else None

    def __call__(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """Bring rows (n, d) into the space of the distances, float32."""
        matrix = self.matrix(rows.shape[1])
        if matrix is None:
            return np.ascontiguousarray(rows, dtype=np.float32)
        return project(rows, matrix)


FULL: Final = Distances(components=0, seed=0)
"""Distances in the features' own space, without a projection."""


@functools.lru_cache(maxsize=1)
def _projection(feature_dim: int, components: int, seed: int) -> NDArray[np.float32]:
    """Draw the projection once a process: it is used for every image."""
    return random_projection(feature_dim, components, seed)
