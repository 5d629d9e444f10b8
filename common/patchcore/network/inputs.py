"""What the extractor takes: files, pictures, arrays and tensors, each with a content key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from common.data.dataset import AutoVIDataset
from common.data.images import as_rgb, read_image, read_size, require_file, unreadable
from common.data.transforms import Preparation
from common.patchcore.network.augmentation import AUGMENTATIONS, Copy


@dataclass(frozen=True)
class ImageInput:
    """One image to be looked at, decoded only when its turn comes.

    Attributes
    ----------
    source : Path, PIL image, uint8 array (H, W[, 3 or 4]) or normalized float tensor (3, h, w)
    category : str or None
        The part that it shows, where the caller told.
    copy : Copy or None
        Which copy of the source this is, if it is one.
    judged : bool
        Whether it will be judged, too, as held-out images are that others are measured with: a
        cache then keeps its features unrounded, so that it goes through the network once.
    """

    source: Any
    category: str | None = None
    copy: Copy | None = None
    judged: bool = False

    @property
    def name(self) -> str:
        """What to call the image in a message."""
        told = "" if self.copy is None else f", {self.copy.name}"
        if isinstance(self.source, Path):
            return f"{self.source}{told}"
        height, width = self.file_size
        return f"{type(self.source).__name__} of {height} x {width} pixels (height x width){told}"

    @property
    def file_size(self) -> tuple[int, int]:
        """Size (height, width) of the picture as it was given, or of the copy: its map's size."""
        size = self._source_size()
        return size if self.copy is None else self.copy.size(size)

    def _source_size(self) -> tuple[int, int]:
        if isinstance(self.source, Path):
            return read_size(self.source)
        if isinstance(self.source, Image.Image):
            return self.source.height, self.source.width
        first = 1 if isinstance(self.source, torch.Tensor) else 0
        height, width = self.source.shape[first : first + 2]
        return int(height), int(width)

    def content_key(self) -> str:
        """Sha256 (hex) of the file's bytes, or of the pixels that the network is given.

        A copy's is that of its source's and its own name: told apart without looking at pixels.
        """
        key = self._source_key()
        if self.copy is None:
            return key
        return hashlib.sha256(f"{key}, {self.copy.name}".encode()).hexdigest()

    def _source_key(self) -> str:
        if isinstance(self.source, Path):
            try:
                require_file(self.source)
                with self.source.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise unreadable(self.source, error) from error
        if isinstance(self.source, torch.Tensor):
            array = self.source.detach().cpu().float().numpy()
        else:
            array = np.asarray(self._source_picture())
        return hashlib.sha256(f"{array.shape}{array.dtype}".encode() + array.tobytes()).hexdigest()

    def tensor(self, preparation: Preparation) -> torch.Tensor:
        """Return the normalized tensor (3, h, w) that the network sees.

        A tensor is taken as ImageNet-normalized already, whatever the network wants.
        """
        if isinstance(self.source, torch.Tensor):
            image = self.source.detach().cpu().float()
            return preparation.tensor(image if self.copy is None else self.copy.tensor(image))
        picture = self._source_picture()
        return preparation.picture(picture if self.copy is None else self.copy.picture(picture))

    def _source_picture(self) -> Image.Image:
        if isinstance(self.source, Path):
            return read_image(self.source)
        if isinstance(self.source, Image.Image):
            return as_rgb(self.source)
        return as_rgb(Image.fromarray(self.source))


def as_inputs(images: Iterable[Any]) -> Iterator[ImageInput]:
    """Take apart whatever a caller holds images in.

    Parameters
    ----------
    images : iterable
        Paths, PIL images (taken as they are, without a look at their EXIF orientation), uint8
        arrays (H, W), (H, W, 3) or (H, W, 4), normalized tensors (3, h, w) or batches
        (b, 3, h, w), data-set items or loader batches (mappings with `image`, and maybe
        `category`), or an `AutoVIDataset`.

    Yields
    ------
    ImageInput

    Raises
    ------
    ValueError
        On anything else.
    """
    if isinstance(images, str | Path):
        raise ValueError(f"images is one path, {images}; give a list of images")
    if isinstance(images, AutoVIDataset) and images.transform is None:
        # Decoded when their turn comes.
        images = [{"image": one.path, "category": one.category} for one in images.samples]
    for image in images:
        if isinstance(image, Mapping):
            inner = image["image"]
            found = list(as_inputs(inner if isinstance(inner, list) else [inner]))
            names = _categories(image.get("category"), len(found))
            yield from (replace(o, category=c) for o, c in zip(found, names, strict=True))
        elif isinstance(image, torch.Tensor) and image.ndim == 4 and image.shape[1] == 3:
            yield from (ImageInput(one) for one in image)
        elif isinstance(image, torch.Tensor) and image.ndim == 3 and image.shape[0] == 3:
            yield ImageInput(image)
        elif isinstance(image, str | Path):
            yield ImageInput(Path(image))
        elif isinstance(image, Image.Image) or _is_picture(image):
            yield ImageInput(image)
        else:
            raise ValueError(
                f"cannot read an image from {type(image).__name__}"
                f"{getattr(image, 'shape', '')}; expected a path, a PIL image, a uint8 array "
                "(H, W[, 3 or 4]) or a normalized tensor (3, h, w)"
            )


def _categories(told: Any, images: int) -> list[str | None]:
    """The category of each image of a data-set item or a loader batch, as far as it is told."""
    if told is None:
        return [None] * images
    names: list[str | None] = [str(told)] * images
    if not isinstance(told, str | int):
        names = [str(name) for name in told]
    if len(names) != images:
        raise ValueError(f"{images} images come with {len(names)} categories; expected one each")
    return names


def with_copies(images: Iterable[ImageInput], augment: str) -> list[ImageInput]:
    """Add the copies that a setting of `augment` asks for, each behind its image.

    Parameters
    ----------
    images : iterable of ImageInput
        Good training images, no copies themselves.
    augment : str
        A name in `AUGMENTATIONS`.
    """
    copies = (None, *AUGMENTATIONS[augment])
    return [replace(image, copy=copy) for image in images for copy in copies]


def _is_picture(image: Any) -> bool:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.size == 0:
        return False
    return image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
