"""From image files to normalized tensors, each category at its own size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from common.data._torchvision import transforms
from common.data.dataset import AutoVIDataset
from common.data.normalization import IMAGENET, Normalization

CATEGORY_SIZES: Final[dict[str, tuple[int, int]]] = {
    "engine_wiring": (400, 400),
    "pipe_clip": (400, 400),
    "pipe_staple": (400, 400),
    "tank_screw": (750, 1000),
    "underbody_pipes": (750, 1000),
    "underbody_screw": (750, 1000),
}
"""AutoVI's image sizes as (height, width); its documentation writes width x height."""


@dataclass(frozen=True)
class Preparation:
    """How an image becomes the input of a network.

    Attributes
    ----------
    image_size : int
        0 keeps the image's own size; n makes the shorter side n pixels, aspect kept.
    multiple : int
        Then each side becomes the nearest multiple of so many pixels, at least one, so that whole
        patches cover the image.
    normalization : Normalization
    """

    image_size: int = 0
    multiple: int = 1
    normalization: Normalization = IMAGENET

    def seen(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size (height, width) at which the network sees an image file of that (height, width)."""
        height, width = resized(size, self.image_size)
        return _nearest(height, self.multiple), _nearest(width, self.multiple)

    def picture(self, image: Image.Image) -> torch.Tensor:
        """Bring one RGB picture to its size and normalize it: (3, h, w), float32."""
        size = (image.height, image.width)
        seen = self.seen(size)
        return _pipeline(seen if seen != size else None, self.normalization)(image)

    def tensor(self, image: torch.Tensor) -> torch.Tensor:
        """Bring an ImageNet-normalized image (3, h, w) to its size and this normalization."""
        size = self.seen((image.shape[-2], image.shape[-1]))
        if size != tuple(image.shape[-2:]):
            image = torch.nn.functional.interpolate(
                image[None], size=size, mode="bilinear", align_corners=False, antialias=True
            )[0]
        if self.normalization == IMAGENET:
            return image
        given, wanted = (
            tuple(torch.tensor(values)[:, None, None] for values in normalization)
            for normalization in (IMAGENET, self.normalization)
        )
        return (image * given[1] + given[0] - wanted[0]) / wanted[1]


def _nearest(side: int, multiple: int) -> int:
    return max(1, (2 * side + multiple) // (2 * multiple)) * multiple


def resized(size: tuple[int, int], image_size: int) -> tuple[int, int]:
    """Size at which the network sees an image.

    Parameters
    ----------
    size : (height, width)
        Of the image file.
    image_size : int
        0 keeps it; n makes the shorter side n pixels and keeps the aspect.

    Returns
    -------
    (height, width)
    """
    if image_size == 0:
        return size
    height, width = size
    if height <= width:
        return image_size, max(1, round(width * image_size / height))
    return max(1, round(height * image_size / width)), image_size


def to_tensor(image: Image.Image, image_size: int = 0) -> torch.Tensor:
    """Normalize one RGB image at its own size or with its shorter side scaled.

    Parameters
    ----------
    image : PIL image, mode RGB
    image_size : int
        0 or the length of the shorter side; scaling is bilinear and antialiased, without a crop.

    Returns
    -------
    tensor of shape (3, h, w), float32
        ImageNet-normalized.
    """
    return Preparation(image_size).picture(image)


def get_transforms(category: str | None = None, image_size: int = 0) -> transforms.Compose:
    """Preprocessing of one category's images, as a torchvision pipeline.

    Parameters
    ----------
    category : str, optional
        An AutoVI category is brought to its published size (`CATEGORY_SIZES`); every other one
        keeps each image's own size.
    image_size : int
        n > 0 scales the shorter side to n instead, aspect kept.

    Returns
    -------
    torchvision.transforms.Compose
        PIL RGB image -> float32 tensor (3, h, w).

    Notes
    -----
    A run itself uses `to_tensor`, which never changes the size of an image by its category's name;
    on AutoVI's own files the two agree.

    Examples
    --------
    >>> from PIL import Image
    >>> from common.data import get_transforms
    >>> black = Image.new("RGB", (80, 60))  # PIL: (width, height)
    >>> tensor = get_transforms("tank_screw", image_size=30)(black)
    >>> tuple(tensor.shape), round(float(tensor[0, 0, 0]), 3)  # (0 - 0.485) / 0.229
    ((3, 30, 40), -2.118)
    """
    if image_size:
        return transforms.Compose([partial(to_tensor, image_size=image_size)])
    return _pipeline(CATEGORY_SIZES.get(category or ""))


def _pipeline(
    size: tuple[int, int] | None, normalization: Normalization = IMAGENET
) -> transforms.Compose:
    steps: list[Any] = [transforms.ToTensor(), transforms.Normalize(*normalization)]
    if size is not None:
        steps.insert(0, transforms.Resize(size, antialias=True))
    return transforms.Compose(steps)


class CategoryTransformDataset(Dataset[dict[str, Any]]):
    """A data set whose images pass through the transform of their own category.

    Parameters
    ----------
    dataset : AutoVIDataset
        Without a transform of its own.
    image_size : int
        As in `get_transforms`.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from common.data import AutoVIDataset, CategoryTransformDataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.makedirs(f"{folder}/clip/train/good")
    ...     Image.new("RGB", (8, 6)).save(f"{folder}/clip/train/good/000.png")
    ...     item = CategoryTransformDataset(AutoVIDataset(folder), image_size=12)[0]
    >>> item["category"], tuple(item["image"].shape)
    ('clip', (3, 12, 16))
    """

    def __init__(self, dataset: AutoVIDataset, image_size: int = 0) -> None:
        self.dataset = dataset
        names = {sample.category for sample in dataset.samples}
        self.transforms = {name: get_transforms(name, image_size) for name in sorted(names)}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> dict[str, Any]:
        item = self.dataset[position]
        return {**item, "image": self.transforms[item["category"]](item["image"])}


class TransformedSubset(Dataset[dict[str, Any]]):
    """A view of some items of a data set, as one station holds them.

    Parameters
    ----------
    dataset : Dataset
        Whatever gives a dict for a position.
    indices : sequence of int
        Positions in `dataset`, in the order wanted.

    Examples
    --------
    >>> from common.data import TransformedSubset
    >>> images = [{"path": "000.png"}, {"path": "001.png"}, {"path": "002.png"}]
    >>> held = TransformedSubset(images, [2, 0])
    >>> len(held), held[0]["path"]
    (2, '002.png')
    """

    def __init__(self, dataset: Dataset[dict[str, Any]], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.dataset[self.indices[position]]


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Batch items: images stacked where all sizes agree (else a list), labels as a tensor.

    Returns
    -------
    dict
        `image` tensor (b, 3, h, w) or list of tensors, `label` int64 tensor (b,), and lists
        `category`, `defect_type`, `path`.
    """
    images = [item["image"] for item in items]
    same = len({tuple(image.shape) for image in images}) == 1
    return {
        "image": torch.stack(images) if same else images,
        "label": torch.tensor([item["label"] for item in items], dtype=torch.int64),
        "category": [item["category"] for item in items],
        "defect_type": [item["defect_type"] for item in items],
        "path": [item["path"] for item in items],
    }


def create_dataloaders(
    dataset: Dataset[dict[str, Any]],
    partition: Mapping[int, Sequence[int]],
    batch_size: int = 32,
    num_workers: int = 0,
) -> dict[int, DataLoader[dict[str, Any]]]:
    """One loader per station, in the partition's order (a memory bank needs no shuffling).

    Parameters
    ----------
    dataset : Dataset
        Items as `CategoryTransformDataset` gives them.
    partition : mapping of station to indices
        As a partitioner's `partition` returns it.
    batch_size : int
        Images a batch, at most.
    num_workers : int
        Processes of each loader that read images; 0: the caller itself.

    Returns
    -------
    dict of station to DataLoader
        Batches as `collate` makes them.

    Examples
    --------
    >>> import torch
    >>> from common.data import create_dataloaders
    >>> about = {"image": torch.zeros(3, 4, 6), "label": 0, "category": "clip"}
    >>> items = [about | {"defect_type": "good", "path": f"{n}.png"} for n in range(3)]
    >>> loaders = create_dataloaders(items, {0: [0, 2], 1: [1]}, batch_size=2)
    >>> batch = next(iter(loaders[0]))
    >>> tuple(batch["image"].shape), batch["path"]
    ((2, 3, 4, 6), ['0.png', '2.png'])
    """
    return {
        station: DataLoader(
            TransformedSubset(dataset, indices),
            batch_size=batch_size,
            num_workers=num_workers,
            shuffle=False,
            collate_fn=collate,
        )
        for station, indices in partition.items()
    }
