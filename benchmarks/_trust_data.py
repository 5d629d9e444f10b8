"""The parts that `trust.py` attacks: who holds what, patches of defects, a misplaced picture."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks._attacks import Defects
from common.config import Settings
from common.data.defects import load_regions
from common.data.holdout import split_holdout
from common.data.images import read_size
from common.data.layout import SYNTHETIC_MARKER, DataIndex, Sample, index_data
from common.data.partition import make_partition
from common.patchcore.model_store import bank_of
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.choice import settle_network
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput


@dataclass(frozen=True)
class Parts:
    """A folder of parts as the stations of one run hold it.

    Attributes
    ----------
    root : Path
    settings : Settings
        Of the run, names of the network included.
    """

    root: Path
    settings: Settings

    @cached_property
    def index(self) -> DataIndex:
        """All images."""
        return index_data(self.root)

    @cached_property
    def held(self) -> dict[str, list[Sample]]:
        """Station -> its images, in order of its number."""
        chosen, samples = self.settings, self.index.samples
        stations, alpha = chosen.num_stations, chosen.dirichlet_alpha
        dealt = make_partition(samples, chosen.partition, stations, chosen.seed, alpha)
        return {
            name: [samples[i] for i in dealt.indices[number]]
            for number, name in enumerate(dealt.names)
        }

    def defects(self) -> Defects:
        """Patches that lie on a defect, of everybody's test images."""
        if "_defects" not in self.__dict__:
            self.__dict__["_defects"] = self._find_defects()
        found: Defects = self.__dict__["_defects"]
        return found

    def _find_defects(self) -> Defects:
        settled, _ = settle_network(self.settings, may_fall_back=True)
        source = FeatureSource(FeatureExtractor.from_settings(settled), workers=1)
        found: Defects = {}
        for station, samples in self.held.items():
            defective = [s for s in samples if s.split == "test" and s.label]
            streamed = source.stream([ImageInput(s.path) for s in defective], np.float16)
            for sample, features in zip(defective, streamed, strict=True):
                own = features[self._on_defect(sample, features.shape[:2])]
                if len(own):
                    banks = found.setdefault(station, {})
                    banks.setdefault(bank_of(sample.category), []).append((sample.defect_type, own))
        return found

    def _on_defect(self, sample: Sample, grid: tuple[int, ...]) -> NDArray[np.bool_]:
        """Whether each patch has a pixel of a defect in it."""
        category = self.index.categories[sample.category]
        mask = np.zeros(read_size(sample.path), dtype=np.float32)
        for region in load_regions(sample, category, mask.shape) or ():
            mask[region.mask] = 1
        small = Image.fromarray(mask).resize((grid[1], grid[0]), Image.Resampling.BOX)
        return np.asarray(small) > 0

    def misplaced(self, stations: list[str], out: Path) -> Path:
        """Make a folder in which a defective picture lies among the held-out good ones.

        Names and order stay as they are, so that every station holds the same images: the picture
        takes the place of one held-out image of the first part that a station holds.

        Parameters
        ----------
        stations : list of str
            At which.
        out : Path
            The new folder; an old one is replaced. All other images are links.
        """
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self.root.resolve(), out, copy_function=_link)
        for station in stations:
            train = [s for s in self.held[station] if s.split == "train"]
            _, held_out = split_holdout(train, self.settings.calibration_fraction)
            target = held_out[0]
            defective = [
                s
                for s in self.held[station]
                if s.split == "test" and s.label and s.category == target.category
            ]
            source = defective[len(defective) // 2]
            place = out / target.path.relative_to(self.index.root)
            place.unlink()
            shutil.copyfile(source.path, place)
        return out


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).resolve())


def describe(index: DataIndex) -> dict[str, dict[str, int]]:
    """Training, good and defective test images of every part."""
    told = {}
    for part in index.categories:
        test = index.select("test", part)
        good = sum(not sample.label for sample in test)
        train = len(index.select("train", part))
        told[part] = {"train": train, "good": good, "defective": len(test) - good}
    return told


def side_by_side(
    parts: dict[str, Path], out: Path, side: int = 0, train: int = 0, test: int = 0
) -> Path:
    """Make a folder of several parts: at most so many images of each kind, and no larger (0: all).

    Parameters
    ----------
    parts : dict of name to Path
    out : Path
        Made once; another selection needs another folder.
    side : int
        Pixels of the shorter side that larger pictures are made smaller to, masks with them.
    train, test : int
        Most training images of a part, and most test images of each of its kinds.
    """
    note, asked = Path(f"{out}.json"), json.dumps([sorted(parts), side, train, test])
    if out.is_dir() and note.is_file() and note.read_text() == asked:
        return out
    shutil.rmtree(out, ignore_errors=True)
    for name, folder in sorted(parts.items()):
        whole = out / "whole" / name
        whole.parent.mkdir(parents=True)
        whole.symlink_to(folder.resolve(), target_is_directory=True)
        kinds: dict[tuple[str, str], int] = {}
        for sample in index_data(whole.parent).samples:
            kind = (sample.split, sample.defect_type)
            kinds[kind] = kinds.get(kind, 0) + 1
            most = train if sample.split == "train" else test
            if most and kinds[kind] > most:
                continue
            for path in (sample.path, *(sample.masks or ())):
                target = out / path.relative_to(whole.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                _smaller(path, target, side, mask=path != sample.path)
        config = folder / "defects_config.json"
        if config.is_file():
            shutil.copy(config, out / name)
        shutil.rmtree(whole.parent)
    # Drawings are told as such in whatever comes of them; a mixture of both is no real set either.
    for marker in (folder.parent / SYNTHETIC_MARKER for folder in parts.values()):
        if marker.is_file():
            shutil.copy(marker, out)
    note.write_text(asked)
    return out


def _smaller(path: Path, target: Path, side: int, *, mask: bool) -> None:
    with Image.open(path) as picture:
        factor = side / min(picture.size) if side else 1.0
        if factor >= 1:
            target.symlink_to(path.resolve())
            return
        size = (round(picture.width * factor), round(picture.height * factor))
        if not mask:
            picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(target)
            return
        # Whatever has a pixel of the defect in it: no small one is lost.
        values = np.asarray(picture.convert("L"))
        share = Image.fromarray((values > 0).astype(np.float32)).resize(size, Image.Resampling.BOX)
        smaller = np.where(np.asarray(share) > 0, values.max(), 0).astype(np.uint8)
        Image.fromarray(smaller).save(target)
