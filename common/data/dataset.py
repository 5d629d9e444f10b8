"""`AutoVIDataset`: the images of a data folder as a torch data set, with their statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from common.data.defects import load_regions
from common.data.images import read_image, read_size
from common.data.layout import DataIndex, Sample, Split, index_data
from common.data.regions import Region

CATEGORIES = (
    "engine_wiring",
    "pipe_clip",
    "pipe_staple",
    "tank_screw",
    "underbody_pipes",
    "underbody_screw",
)
"""AutoVI's six parts; every other category name works as well."""


class AutoVIDataset(Dataset[dict[str, Any]]):
    """Images of an AutoVI- or MVTec-shaped data folder.

    Parameters
    ----------
    root : path
        Folder of category folders.
    categories : iterable of str, optional
        Only these categories.
    split : "train" or "test", optional
        Only this split.
    transform : callable, optional
        PIL image -> anything; without it items hold the PIL image.

    Raises
    ------
    InputError
        If the folder cannot be used; see `index_data`.

    Notes
    -----
    An item is a dict with `image`, `label` (0 good, 1 defective), `category`, `defect_type`,
    `split` and `path` (str). Nothing is read from an image file before its item is asked for.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from common.data import AutoVIDataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.makedirs(f"{folder}/clip/train/good")
    ...     Image.new("RGB", (8, 6)).save(f"{folder}/clip/train/good/000.png")
    ...     dataset = AutoVIDataset(folder)
    ...     dataset.get_statistics()["by_split"], dataset[0]["image"].size
    ({'train': 1}, (8, 6))
    """

    def __init__(
        self,
        root: Path | str,
        categories: Iterable[str] | None = None,
        split: Split | None = None,
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> None:
        self.index: DataIndex = index_data(root, categories)
        self.samples: list[Sample] = self.index.select(split)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> dict[str, Any]:
        sample = self.samples[position]
        image = read_image(sample.path)
        return {
            "image": image if self.transform is None else self.transform(image),
            "label": sample.label,
            "category": sample.category,
            "defect_type": sample.defect_type,
            "split": sample.split,
            "path": str(sample.path),
        }

    def regions(self, position: int) -> list[Region] | None:
        """Ground-truth regions of an image; None if its category has no ground truth."""
        sample = self.samples[position]
        return load_regions(sample, self.index.categories[sample.category], read_size(sample.path))

    def get_statistics(self) -> dict[str, Any]:
        """Count the images by category, label and defect type.

        Returns
        -------
        dict
            `total`; `by_split`, `by_label` ("good", "defective"), `by_category`; `categories`:
            for each category its `train`, `test`, `good`, `defective` counts and `defect_types`.
        """

        def count(key: Callable[[Sample], str], samples: list[Sample]) -> dict[str, int]:
            return dict(sorted(Counter(map(key, samples)).items()))

        def label(sample: Sample) -> str:
            return "defective" if sample.label else "good"

        categories = {}
        for name in self.index.categories:
            own = [sample for sample in self.samples if sample.category == name]
            categories[name] = {
                "train": sum(sample.split == "train" for sample in own),
                "test": sum(sample.split == "test" for sample in own),
                "good": sum(sample.label == 0 for sample in own),
                "defective": sum(sample.label == 1 for sample in own),
                "defect_types": count(
                    lambda sample: sample.defect_type, [s for s in own if s.split == "test"]
                ),
            }
        return {
            "total": len(self.samples),
            "by_split": count(lambda sample: sample.split, self.samples),
            "by_label": count(label, self.samples),
            "by_category": count(lambda sample: sample.category, self.samples),
            "categories": categories,
        }
