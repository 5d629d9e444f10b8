"""Preflight of what a station brings: its images and the frozen network's weights."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.check import CheckOptions
from common.check.findings import Kind
from common.check.image_checks import judge_held_out
from common.config import Settings
from common.data.holdout import split_holdout
from common.data.images import read_size, verify_images
from common.data.layout import DataIndex, index_data
from common.data.remarks import image_remarks
from common.errors import InputError
from common.plant.preflight.findings import Preflight
from common.plant.station.station_file import StationFile

if TYPE_CHECKING:
    from common.patchcore import FeatureExtractor

_DATA: Final = Kind(
    "data-folder",
    "error",
    "without images of its own the station has nothing to contribute",
    "mend data-root or the folder; `fedpatchcore check DATA` names every fault of a data folder",
)
_NO_TRAINING: Final = Kind(
    "no-training-images",
    "error",
    "a memory bank is made of good training images",
    "put images of good parts below CATEGORY/train/good",
)
_ODD_IMAGES: Final = Kind(
    "odd-images",
    "warning",
    "the images can be read, and what is found in them is worth little",
    "`fedpatchcore check DATA` names the files, and how to mend them",
)
_WEIGHTS: Final = Kind(
    "weights",
    "error",
    "without the network's weights the station computes no features",
    "put the file there, the same one at every station",
)
_RANDOM_WEIGHTS: Final = Kind(
    "random-weights",
    "warning",
    "seeded random weights only try the plumbing: what they find in real images means nothing",
    'name a weight file in the station file, as weights = "/weights/wide_resnet50_2.pth"',
)
_RANDOM_ON_DRAWINGS: Final = Kind(
    _RANDOM_WEIGHTS.name, "note", _RANDOM_WEIGHTS.why, "nothing, the images are drawings too"
)
_DEVICE: Final = Kind(
    "device",
    "error",
    "the station would refuse every message",
    "mend device in the station file",
)
_DEVICE_UNPROVED: Final = Kind(
    _DEVICE.name,
    "warning",
    "the device did not compute as the CPU does, so the CPU does its work, slower",
    'look at its driver, memory and torch, or say device = "cpu" in the station file',
)


@dataclass(frozen=True)
class Holding:
    """What the station holds.

    Attributes
    ----------
    index : DataIndex
    sizes : dict of Path to (height, width)
        Of every image.
    training : list of Path
        Images from whose patches the station's rows are chosen.
    """

    index: DataIndex
    sizes: dict[Path, tuple[int, int]]
    training: list[Path]


@dataclass(frozen=True)
class Load:
    """How much that is for disk and memory.

    Attributes
    ----------
    images : int
    largest : int
        Pixels of the largest image, as the network sees it.
    patches, training_patches : int
        Of all images, and of those that rows are chosen from.
    dim : int
        Numbers per patch.
    """

    images: int
    largest: int
    patches: int
    training_patches: int
    dim: int


def check_data(
    file: StationFile, settings: Settings, options: CheckOptions, report: Preflight
) -> Holding | None:
    """The images: readable, laid out as a data folder, with good training images, none broken.

    Returns
    -------
    Holding or None
        None if the folder cannot be used.
    """
    root = file.data_root
    if not root.is_dir():
        report.add(_DATA, root, "no such folder" if not root.exists() else "is no folder")
        return None
    if not os.access(root, os.R_OK | os.X_OK):
        report.add(_DATA, root, f"user {os.geteuid()} may not read it")
        return None
    try:
        index = index_data(root)
        files = [path for s in index.samples for path in (s.path, *(s.masks or ()))]
        verify_images(files)
        sizes = {sample.path: read_size(sample.path) for sample in index.samples}
    except InputError as error:
        report.add(_DATA, root, str(error))
        return None
    except OSError as error:
        report.add(_DATA, Path(error.filename or root), error.strerror or str(error))
        return None
    train = index.select("train")
    if not train:
        report.add(_NO_TRAINING, root, "no good training image")
        return None
    for category in index.categories.values():
        own = index.select("train", category.name)
        place = category.folder / "train" / "good"
        report.findings += judge_held_out(place, len(own), options)
    for remark in image_remarks(index.samples):
        report.add(_ODD_IMAGES, root, remark)
    bank, held_out = split_holdout(train, settings.calibration_fraction)
    kind = "synthetic images (drawings)" if index.synthetic else "images"
    report.facts["data"] = (
        f"{root}: {kind} of {', '.join(index.categories)}; {len(train)} for training "
        f"({len(held_out)} of them held out), {len(index.select('test'))} to be tested"
    )
    return Holding(index, sizes, [sample.path for sample in bank])


def check_weights(
    file: StationFile, settings: Settings, synthetic: bool, report: Preflight
) -> FeatureExtractor | None:
    """The weights: there, readable, the backbone's; the feature space's fingerprint is a fact.

    Parameters
    ----------
    file : StationFile
    settings : Settings
        The run's, with what the station decides for itself in place.
    synthetic : bool
        Whether the images are drawings.
    report : Preflight

    Returns
    -------
    FeatureExtractor or None
        None without weights.
    """
    from common.patchcore import FeatureExtractor
    from common.patchcore.network.backbone import choose_device
    from common.patchcore.network.choice import settle_network

    place = Path(settings.weights) if Path(settings.weights).is_absolute() else file.path
    try:
        report.facts["device"] = str(choose_device(settings.device))
    except InputError as error:
        report.add(_DEVICE, file.path, str(error))
        settings = settings.with_(device="cpu")
    try:
        settings, _ = settle_network(settings, may_fall_back=False)
        extractor = FeatureExtractor.from_settings(settings)
    except InputError as error:
        report.add(_WEIGHTS, place, str(error))
        return None
    except OSError as error:
        report.add(_WEIGHTS, place, f"cannot be read ({error.strerror or error})")
        return None
    if settings.weights == "random":
        kind = _RANDOM_ON_DRAWINGS if synthetic else _RANDOM_WEIGHTS
        report.add(kind, place, "seeded random weights")
    if "device" in report.facts:
        report.facts["device"] = extractor.prove()
    if extractor.left:
        report.add(_DEVICE_UNPROVED, file.path, extractor.left)
    report.facts["feature space"] = extractor.space.describe()
    report.facts["fingerprint"] = (
        f"{extractor.space.fingerprint}; equal at every station of a plant"
    )
    return extractor


def weigh(holding: Holding, extractor: FeatureExtractor, settings: Settings) -> Load:
    """Count pixels and patches from the images' sizes, copies' too; computes no feature."""
    from common.patchcore.local_bank import bank_patches

    space, training = extractor.space, set(holding.training)
    patches = {
        path: bank_patches(space, size, settings.augment if path in training else "none")
        for path, size in holding.sizes.items()
    }
    seen = (extractor.space.preparation.seen(size) for size in holding.sizes.values())
    return Load(
        images=len(patches),
        largest=max(math.prod(size) for size in seen),
        patches=sum(patches.values()),
        training_patches=sum(patches[path] for path in holding.training),
        dim=extractor.feature_dim,
    )
