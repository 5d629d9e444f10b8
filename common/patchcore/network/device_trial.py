"""One image through the network on a device and on the CPU: what the device must show first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

#: Largest difference of two patches' features, as a share of their median norm. Sums in another
#: order cost float32 some 1e-6; bfloat16 rounds every activation to 8 bits.
TOLERANCE: Final = {"float32": 1e-4, "bfloat16": 3e-2}
_HEIGHT, _WIDTH = 96, 128

Features = Callable[[torch.Tensor], NDArray[np.float32]]


def trial_image() -> torch.Tensor:
    """Blotches and grain, ImageNet-normalized: (1, 3, height, width), float32."""
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((1, 3, _HEIGHT // 16, _WIDTH // 16)).astype(np.float32)
    blotches = torch.nn.functional.interpolate(
        torch.from_numpy(coarse), size=(_HEIGHT, _WIDTH), mode="bilinear", align_corners=False
    )
    grain = rng.standard_normal((1, 3, _HEIGHT, _WIDTH)).astype(np.float32)
    return blotches + 0.2 * torch.from_numpy(grain)


def find_difference(on_device: Features, on_cpu: Features, precision: str) -> str | None:
    """Compute one image in both ways, and say how the device's features are wrong.

    Parameters
    ----------
    on_device, on_cpu : callable
        From images (1, 3, h, w) to features (1, rows, columns, d).
    precision : str
        The network's number format, see `TOLERANCE`.

    Returns
    -------
    str or None
        None if no patch differs by more than it may.
    """
    image = trial_image()
    found, expected = on_device(image), on_cpu(image)
    norm = float(np.median(np.linalg.norm(expected, axis=-1)))
    difference = float(np.linalg.norm(found - expected, axis=-1).max())
    if difference <= TOLERANCE[precision] * norm:  # which is false of NaN
        return None
    return (
        f"its features of a trial image are {difference:.2g} from the CPU's, whose median norm is "
        f"{norm:.2g}; at most {TOLERANCE[precision]:g} of it was expected"
    )
