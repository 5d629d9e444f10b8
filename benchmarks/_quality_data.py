"""The parts that `quality.py` judges: put together in one folder, disturbed where asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from benchmarks._plant import TOOL
from common.data.demo_data import DEMO_IMAGES, DEMO_SIZE
from common.data.layout import DataIndex, index_data
from common.patchcore.network.augmentation import Copy

MARK = "synthetic.json"
#: what befalls every second test image; a dimmed one is as no copy of `augment`
DISTURBED = {"turned": Copy(quarter_turns=1), "lit": Copy(brightness=0.85)}


def put_together(folders: list[Path], parts: list[str], disturbed: str, work: Path) -> DataIndex:
    """Link the parts of all folders side by side; without a folder those of the drawn set.

    Parameters
    ----------
    folders : list of Path
    parts : list of str
        Only these; empty for all.
    disturbed : str
        "" or a name in `DISTURBED`: every second test image of each folder, and its masks with it.
    work : Path
        Gets `data`, made once.
    """
    data, note = work / "data", work / "data.json"
    asked = json.dumps([[str(one.resolve()) for one in folders], sorted(parts), disturbed])
    if data.is_dir():
        if not note.is_file() or note.read_text() != asked:
            sys.exit(f"{work}: holds runs of other parts; give another --name or --work")
        return index_data(data)
    folders = [folder.resolve() for folder in folders] or [_drawn(work)]
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            sys.exit(f"{folder}: no such folder; give a folder that holds folders of parts")
        for part in sorted(path for path in folder.iterdir() if path.is_dir()):
            if part.name in found:
                sys.exit(f"{part} and {found[part.name]}: two parts of one name; rename one")
            found[part.name] = part
    if missing := sorted({*parts} - {*found}):
        sys.exit(f"--parts {missing[0]}: no such part; there are {', '.join(sorted(found))}")
    found = {name: part for name, part in found.items() if not parts or name in parts}
    building = work / "data.partial"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for name, part in found.items():
        if disturbed:
            shutil.copytree(part, building / name)
        else:
            (building / name).symlink_to(part, target_is_directory=True)
    if all((folder / MARK).is_file() for folder in folders):
        shutil.copy(folders[0] / MARK, building)
    if disturbed:
        _disturb(index_data(building), DISTURBED[disturbed])
    note.write_text(asked)
    building.rename(data)
    return index_data(data)


def _drawn(work: Path) -> Path:
    """The demonstration's drawings."""
    data = work / "drawn"
    if not data.is_dir():
        size, images = str(DEMO_SIZE), str(DEMO_IMAGES)
        words = ["synth", str(data), "--images", images, "--size", size]
        subprocess.run([TOOL, *words], check=True, stdout=subprocess.DEVNULL)
    return data


def _disturb(index: DataIndex, copy: Copy) -> None:
    """Overwrite every second test image of each defect type."""
    for number, sample in enumerate(index.select("test")):
        if number % 2:
            continue
        with Image.open(sample.path) as picture:
            changed = copy.picture(picture.convert("RGB"))
        changed.save(sample.path)
        masks = sample.masks if copy.quarter_turns else ()
        for path in masks or ():
            with Image.open(path) as mask:
                turned = Copy(copy.quarter_turns).picture(mask)
            turned.save(path)
