"""A partition laid out on disk: one folder per station, as real stations would hold it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from common.data.layout import SYNTHETIC_MARKER, DataIndex, Sample
from common.data.partition import Partition
from common.errors import InputError
from common.paths import beside


def lay_out(index: DataIndex, partition: Partition, out: Path) -> dict[str, Path]:
    """Write every station's images and ground truth below `out/<station>/`.

    Parameters
    ----------
    index : DataIndex
    partition : Partition
        Over `index.samples`.
    out : Path
        Must not exist or be empty. Written under a temporary name and renamed when whole.

    Returns
    -------
    dict of station name to its folder

    Raises
    ------
    InputError
        If `out` holds something already or lies inside the data folder.
    OSError
        If the system refuses; nothing half written stays.

    Notes
    -----
    Files are hard links where the file system allows it, else copies. Links into the original
    are never symbolic: a container that mounts one station's folder must not need the others'.
    """
    out = out.expanduser().resolve()
    if out.is_relative_to(index.root.resolve()):
        raise InputError(f"{out}: lies inside the data folder {index.root}; give another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty; give a new folder or remove it first")
    building = beside(out, ".partial")
    try:
        shutil.rmtree(building, ignore_errors=True)
        for station, indices in partition.indices.items():
            root = building / partition.names[station]
            root.mkdir(parents=True)
            for sample in (index.samples[i] for i in indices):
                _place(index, sample, root)
            if index.synthetic:
                _link(index.root / SYNTHETIC_MARKER, root / SYNTHETIC_MARKER)
        if out.exists():
            out.rmdir()
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return {name: out / name for name in partition.names}


def _place(index: DataIndex, sample: Sample, root: Path) -> None:
    """One image with its masks and its category's defect table."""
    category = index.categories[sample.category]
    home = root / sample.category
    for path in (sample.path, *(sample.masks or ())):
        _link(path, home / path.relative_to(category.folder))
    config = category.folder / "defects_config.json"
    if config.is_file():
        _link(config, home / config.name)
    if category.layout != "no_masks":
        # An AutoVI category stays recognisable as one at a station without defective images.
        (home / "ground_truth").mkdir(exist_ok=True)


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)
