"""Copies of good training images for the bank: parts that turn, or light that changes.

A copy is an image of its own to the network and its cache: turned or brightened first, then
brought to its size. Only what a bank is made of is copied; images that are held out or tested
are judged as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from common.data.normalization import IMAGENET

if TYPE_CHECKING:
    import torch

_TURNED: Final = {
    1: Image.Transpose.ROTATE_90,
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Copy:
    """How a copy differs from its image.

    Attributes
    ----------
    quarter_turns : int
        Counter-clockwise, 0 to 3; 1 and 3 swap height and width. No pixel is interpolated.
    brightness : float
        Factor of every 8-bit channel value, rounded (halves to even) and clipped to 0 to 255.
    """

    quarter_turns: int = 0
    brightness: float = 1.0

    @property
    def name(self) -> str:
        """Names it in messages and in keys of the cache: copies of one name are the same bits."""
        words = []
        if self.quarter_turns:
            words.append(f"turned {90 * self.quarter_turns} degrees")
        if self.brightness != 1.0:
            words.append(f"brightness x {self.brightness:g}")
        return ", ".join(words)

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the copy of an image of that size."""
        return size[::-1] if self.quarter_turns % 2 else size

    def picture(self, image: Image.Image) -> Image.Image:
        """Copy of an 8-bit RGB picture."""
        if self.quarter_turns:
            image = image.transpose(_TURNED[self.quarter_turns])
        if self.brightness != 1.0:
            values = np.clip(np.rint(np.arange(256) * self.brightness), 0, 255)
            image = image.point([int(value) for value in values] * 3)
        return image

    def tensor(self, image: torch.Tensor) -> torch.Tensor:
        """Copy of an ImageNet-normalized image (3, h, w), whose values are brought to 8 bits."""
        import torch  # takes a second, which those who only read the table need not pay

        if self.quarter_turns:
            image = torch.rot90(image, self.quarter_turns, (1, 2))
        if self.brightness != 1.0:
            mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
            stored = torch.round((image * std + mean) * 255)
            values = torch.round(stored * self.brightness).clamp(0, 255)
            image = (values / 255 - mean) / std
        return image.contiguous()


AUGMENTATIONS: Final[dict[str, tuple[Copy, ...]]] = {
    "none": (),
    "rotations": (Copy(1), Copy(2), Copy(3)),
    "light": (Copy(brightness=0.8), Copy(brightness=1.25)),
}
"""Name of the setting `augment` -> the copies that join every image in the bank."""


def sizes_with_copies(size: tuple[int, int], augment: str) -> list[tuple[int, int]]:
    """(height, width) of an image and of each of its copies, as many as go into the bank."""
    return [size, *(copy.size(size) for copy in AUGMENTATIONS[augment])]
