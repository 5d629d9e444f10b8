"""Vectors that bound distances from below: what the search multiplies instead of measuring.

Both filters map a row to a float32 vector such that two vectors are never farther apart than the
rows are, but for a small *drift* that is known for every row:

    |f(q) - f(b)| <= |q - b| + drift(q) + drift(b)      (in the frame's scale)

`FrameFilter` keeps all d numbers. `PrincipalFilter` keeps the p leading principal components of the
bank and one more number, the norm of what they leave out: with P the projection on them,

    |q - b|^2 = |P q - P b|^2 + |(I-P)(q - b)|^2 >= |P q - P b|^2 + (|(I-P) q| - |(I-P) b|)^2.

With pretrained features p is a tenth of d and leaves a few rows a query to be measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.patchcore.exact.frame import UNIT, Frame, Tolerance
from common.patchcore.exact.kernels import to_frame
from common.patchcore.exact.projection import random_projection

_CHUNK = 128  # numbers that one float32 product sums: the shorter, the smaller its error
_BLOCK = 1024
_SAMPLE = 2048
_EXTRA = 8  # directions beyond those kept, so that the last of these converge, too


class Filter(Protocol):
    """A map from rows to vectors, with their drift."""

    @property
    def width(self) -> int:
        """Numbers of a vector."""

    def vectors(
        self, rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Map rows (n, d): vectors (n, width), their norms (n,) and drifts (n,)."""


@dataclass(frozen=True)
class FrameFilter:
    """The rows themselves, in the frame."""

    frame: Frame

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return len(self.frame.mean)

    def vectors(
        self, rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Map rows; rounding into the frame moves each by at most `u` of its norm."""
        out = np.empty(rows.shape, dtype=np.float32)
        norms = np.empty(len(rows))
        to_frame(rows, self.frame.mean, self.frame.scale, out, norms)
        return out, norms, UNIT * (1 + 1e-6) * norms


@dataclass(frozen=True)
class PrincipalFilter:
    """Leading principal components and the norm of the rest.

    Attributes
    ----------
    frame : Frame
    basis : array of shape (d, p), float32
        Nearly orthonormal columns, the most important first.
    skew : float
        Frobenius norm of `basis.T @ basis - I`: an upper bound of how far (in the spectral
        norm) the basis is from an exactly orthonormal one.
    """

    frame: Frame
    basis: NDArray[np.float32]
    skew: float

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.basis.shape[1] + 1

    def leading(self, count: int) -> PrincipalFilter:
        """Return the filter of the first `count` components."""
        basis = np.ascontiguousarray(self.basis[:, :count])
        return PrincipalFilter(self.frame, basis, _skew(basis))

    def vectors(
        self, rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Map rows, in blocks.

        With x a row in the frame, X its norm, Q the orthonormal matrix nearest to the basis (at
        most `skew` away: each singular value s has |s - 1| <= |s^2 - 1|):

        * The components err by at most `eta X` in all: float32 sums of `_CHUNK` products,
          `gamma |x| |w_j|` for each of p columns (Cauchy-Schwarz joins the chunks, which are added
          in float64), their rounding to float32, and the skew.
        * The rest r^2 = X^2 - |Q'x|^2 then errs by at most `tau X^2` with tau = 2 eta + eta^2, and
          its root by at most the smaller of `tau X^2 / r` and `sqrt(tau) X`.
        * Rounding x into the frame, and the last number to float32, adds `u X` each.
        """
        p = self.basis.shape[1]
        gamma = Tolerance.of(_CHUNK).direct
        eta = ((gamma * math.sqrt(p) + 2 * UNIT) * (1 + self.skew) + self.skew) * 1.01
        tau = (2 * eta + eta * eta) * 1.01
        out = np.empty((len(rows), p + 1), dtype=np.float32)
        norms = np.empty(len(rows))
        near = np.empty((min(_BLOCK, len(rows)), rows.shape[1]), dtype=np.float32)
        drifts = np.empty(len(rows))
        for begin in range(0, len(rows), _BLOCK):
            block = rows[begin : begin + _BLOCK]
            vectors = near[: len(block)]
            lengths = norms[begin : begin + _BLOCK]
            to_frame(block, self.frame.mean, self.frame.scale, vectors, lengths)
            components = np.zeros((len(block), p))
            for first in range(0, rows.shape[1], _CHUNK):
                part = slice(first, first + _CHUNK)
                components += vectors[:, part] @ self.basis[part]
            kept = components.astype(np.float32)
            squared_rest = lengths**2 - (kept.astype(np.float64) ** 2).sum(axis=1)
            rest = np.sqrt(np.maximum(squared_rest, 0))
            out[begin : begin + _BLOCK, :p] = kept
            out[begin : begin + _BLOCK, p] = rest
            with np.errstate(divide="ignore", invalid="ignore"):
                slip = np.fmin(tau * lengths**2 / rest, math.sqrt(tau) * lengths)
            drifts[begin : begin + _BLOCK] = (eta + 3 * UNIT) * lengths + slip
            lengths[:] = np.sqrt((out[begin : begin + _BLOCK].astype(np.float64) ** 2).sum(axis=1))
        return out, norms, drifts


def fit_principal(rows: NDArray[np.float32], frame: Frame, count: int) -> PrincipalFilter:
    """Find about the `count` leading principal components of the rows.

    Subspace iteration on a sample: how good they are decides the speed of a search, never its
    result.
    """
    sample = np.ascontiguousarray(rows[:: max(1, len(rows) // _SAMPLE)])
    near = np.empty(sample.shape, dtype=np.float32)
    to_frame(sample, frame.mean, frame.scale, near, np.empty(len(sample)))
    near -= near.mean(axis=0)
    basis = random_projection(rows.shape[1], min(count + _EXTRA, rows.shape[1]), seed=0)
    for _ in range(3):
        basis = np.linalg.qr(near.T @ (near @ basis))[0].astype(np.float32)
    # Turn the basis so that its columns come in order of importance.
    left = np.linalg.svd(basis.T @ (near.T @ (near @ basis)))[0]
    basis = np.linalg.qr((basis @ left)[:, :count].astype(np.float64))[0].astype(np.float32)
    return PrincipalFilter(frame, basis, _skew(basis))


def _skew(basis: NDArray[np.float32]) -> float:
    """Return the Frobenius norm of `basis.T @ basis - I`, rounded up."""
    exact = basis.astype(np.float64)
    skew = exact.T @ exact - np.eye(exact.shape[1])
    return float(np.linalg.norm(skew)) * (1 + 1e-6) + 1e-12
