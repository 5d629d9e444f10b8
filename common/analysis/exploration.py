"""What a data folder holds, as tables and pictures, before anything is trained."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.analysis import plot_class_bars, plot_partition_distribution, plot_sample_grid
from common.data.images import read_image, read_size
from common.data.layout import DataIndex, Sample
from common.data.partition import compute_partition_stats, make_partition
from common.errors import InputError
from common.evaluation import anomaly_kind
from common.system.files import write_whole

Pictures = tuple[list[NDArray[np.uint8]], list[str]]
"""Images (H, W, 3) and the title of each, as `plot_sample_grid` takes them."""


@dataclass(frozen=True)
class Exploration:
    """What `explore_data` found and wrote.

    Attributes
    ----------
    tables : dict of str to DataFrame
        `statistics`, `sizes`, `defect_types`, and `partition_iid`, `partition_category` where the
        partition is possible; each is written as `<name>.csv`.
    pictures : list of Path
        The plots written.
    notices : list of str
        What could not be shown, and why; what a reader should know about a partition.
    """

    tables: dict[str, pd.DataFrame]
    pictures: list[Path] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def explore_data(
    index: DataIndex, out: Path, *, num_stations: int = 5, seed: int = 42
) -> Exploration:
    """Write statistics as CSV and plots as PNG.

    Parameters
    ----------
    index : DataIndex
    out : Path
        Folder for the files; those of an earlier exploration are replaced.
    num_stations, seed
        Of the partition previews.

    Returns
    -------
    Exploration

    Raises
    ------
    InputError
        If an image cannot be read.

    Notes
    -----
    Opens the header of every image, and the pixels of one sample a category and defect type.
    """
    found = Exploration(
        {
            "statistics": class_counts(index),
            "sizes": image_sizes(index),
            "defect_types": defect_types(index),
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    plot_class_bars(found.tables["statistics"], path=_picture(found, out, "class_bars"))
    images, titles = category_samples(index)
    plot_sample_grid(images, titles, path=_picture(found, out, "samples"))
    for category in index.categories:
        images, titles = defect_examples(index, category)
        path = _picture(found, out, f"defects_{category}")
        plot_sample_grid(images, titles, path=path)
    for name in ("iid", "category"):
        try:
            stats, notices = partition_preview(index, name, num_stations, seed)
        except InputError as error:
            found.notices.append(f"no {name} partition: {error}")
            continue
        found.notices.extend(notices)
        found.tables[f"partition_{name}"] = stats
        path = _picture(found, out, f"partition_{name}")
        plot_partition_distribution(stats, title=f"{name} partition", path=path)
    for name, table in found.tables.items():
        write_whole(out / f"{name}.csv", table.to_csv())
    return found


def class_counts(index: DataIndex) -> pd.DataFrame:
    """Count the images of every category by split and label.

    Returns
    -------
    DataFrame of int
        One row a category; columns `train_good`, `test_good`, `test_defective` and `total`.
    """
    rows = {
        name: {
            "train_good": len(index.select("train", name)),
            "test_good": sum(one.label == 0 for one in index.select("test", name)),
            "test_defective": sum(one.label == 1 for one in index.select("test", name)),
        }
        for name in index.categories
    }
    table = pd.DataFrame.from_dict(rows, orient="index").astype("int64")
    table["total"] = table.sum(axis=1)
    return table.rename_axis("category")


def image_sizes(index: DataIndex) -> pd.DataFrame:
    """Count the image sizes of every category, by file header.

    Returns
    -------
    DataFrame of int
        Index (category, width, height), in pixels; column `images`.
    """
    counts = Counter((one.category, *read_size(one.path)[::-1]) for one in index.samples)
    keys = pd.MultiIndex.from_tuples(sorted(counts), names=["category", "width", "height"])
    return pd.DataFrame({"images": [counts[key] for key in sorted(counts)]}, index=keys)


def defect_types(index: DataIndex) -> pd.DataFrame:
    """Count the defective test images of every category by defect type.

    Returns
    -------
    DataFrame
        Index (category, defect_type); columns `kind` (structural, logical or unknown) and
        `images`. Empty if no image is defective.
    """
    tested = [one for one in index.samples if one.label == 1]
    counts = Counter((one.category, one.defect_type) for one in tested)
    keys = sorted(counts)
    return pd.DataFrame(
        {
            "kind": [anomaly_kind(defect) for _, defect in keys],
            "images": [counts[key] for key in keys],
        },
        index=pd.MultiIndex.from_tuples(keys, names=["category", "defect_type"]),
    )


def category_samples(index: DataIndex) -> Pictures:
    """The first good image of every category, and its size in the title."""
    chosen = [_first(index, name, "good") for name in index.categories]
    samples = [sample for sample in chosen if sample is not None]
    images = [_pixels(sample) for sample in samples]
    titles = [
        f"{sample.category}\n{image.shape[1]} x {image.shape[0]} pixels"
        for sample, image in zip(samples, images, strict=True)
    ]
    return images, titles


def defect_examples(index: DataIndex, category: str) -> Pictures:
    """The first good and the first defective image of each defect type of one category.

    Raises
    ------
    ValueError
        If the folder has no such category.
    """
    if category not in index.categories:
        raise ValueError(f"no category {category!r}, only {', '.join(index.categories)}")
    own = index.select(category=category)
    names = dict.fromkeys(["good", *(one.defect_type for one in own)])
    samples = [_first(index, category, name) for name in names]
    present = [sample for sample in samples if sample is not None]
    return [_pixels(sample) for sample in present], [sample.defect_type for sample in present]


def partition_preview(
    index: DataIndex, name: str, num_stations: int = 5, seed: int = 42, alpha: float = 0.5
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Count the training images that a partition gives each station.

    Returns
    -------
    (DataFrame of int, tuple of str)
        Stations x categories with `total`, see `compute_partition_stats`; and the partition's
        notices.

    Raises
    ------
    InputError
        If there are fewer training images than stations.
    """
    made = make_partition(index.samples, name, num_stations, seed, alpha)
    stats = compute_partition_stats(made.indices, index, "train", made.names)
    return stats.rename_axis("station"), made.notices


def _first(index: DataIndex, category: str, defect_type: str) -> Sample | None:
    own = index.select(category=category)
    return next((one for one in own if one.defect_type == defect_type), None)


def _pixels(sample: Sample) -> NDArray[np.uint8]:
    return np.asarray(read_image(sample.path), dtype=np.uint8)


def _picture(found: Exploration, out: Path, name: str) -> Path:
    """Path of a plot, noted as written."""
    found.pictures.append(out / f"{name}.png")
    return found.pictures[-1]
