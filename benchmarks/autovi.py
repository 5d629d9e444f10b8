"""AutoVI's true counts and sizes, five stations, one federated run through a real plant.

    fedpatchcore synth /big/autovi --like-autovi
    python benchmarks/autovi.py /big/autovi --work /big/work [--out FILE.json]

The data set is dealt out by category, as five stations would hold it, and run with the default
settings: WideResNet-50-2 at the images' own size, a bank of 10,000 rows, every test image scored.
The network is random unless `--set weights=FILE` names one; the images are drawings unless they
are AutoVI's. Seconds, bytes and peak memory (the kernel's VmHWM) are told for every station.

Everything is on one machine, so the stations share its cores: a step takes as long as all
stations' work together. `--work` keeps the features that are computed (up to `--cache-gb` a
station, some tens of GB in all): a run that was ended goes on from there when it is started again.
Where time is short, `--test-every N` scores every N-th test image of each kind; training images are
always all there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks._bench import finish, machine
from benchmarks._plant import TOOL, end_when_told, run_plant, show_logs
from common.data.layout import index_data

SETTINGS = {"weights": "random", "device": "cpu", "round-timeout": 7200}


def deal_out(data: Path, folder: Path, test_every: int) -> dict[str, Path]:
    """Lay the category partition out, one folder per station."""
    known = folder.parent / "test-every"
    if not folder.exists():
        partition = ("--partition", "category", "--stations", "5", "--out", str(folder))
        subprocess.run([TOOL, "split", str(data), *partition], check=True)
    if not known.exists():
        thin_out(folder, test_every)
        known.write_text(str(test_every))
    elif known.read_text() != str(test_every):
        raise SystemExit(f"{folder.parent} was begun with --test-every {known.read_text()}")
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}


def thin_out(folder: Path, test_every: int) -> None:
    """Keep every so many-th test image of each kind, with its masks; all training images stay."""
    for kind in folder.glob("*/*/test/*"):
        for number, path in enumerate(sorted(kind.iterdir())):
            if number % test_every:
                path.unlink()
                masks = kind.parents[1] / "ground_truth" / kind.name / path.stem
                shutil.rmtree(masks, ignore_errors=True)


def count(folder: Path) -> dict[str, int]:
    """Images and bytes that a station holds, and that never leave it."""
    train = [path for path in folder.glob("*/train/good/*") if path.is_file()]
    test = [path for path in folder.glob("*/test/*/*") if path.is_file()]
    size = sum(path.stat().st_size for path in (*train, *test))
    return {"training_images": len(train), "test_images": len(test), "image_bytes": size}


def per_station(found: dict[str, Any], images: dict[str, Path]) -> None:
    """Put beside every station what it holds and what its processes took."""
    for station in found["stations"]:
        name = station["name"]
        station |= count(images[name])
        station["peak_megabytes"] = {
            role.partition(": ")[2]: peak
            for role, peak in found["peak_megabytes"].items()
            if role.startswith(f"{name}: ")
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="AutoVI, or the drawn set in its size")
    parser.add_argument("--work", type=Path, required=True, help="keeps what a later start needs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cache-gb", type=float, default=20, help="of a station's features")
    parser.add_argument("--test-every", type=int, default=1, metavar="N", help="to save time")
    parser.add_argument("--hours", type=float, default=4, help="until it is given up")
    parser.add_argument("--remark", default="", help="what else the figures depend on")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    end_when_told()
    about = machine()
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    images = deal_out(options.data.resolve(), work / "images", options.test_every)
    started_before = (work / "caches").exists()
    settings = SETTINGS | dict(pair.split("=", 1) for pair in options.set)
    limit = f"cache-limit-gb = {options.cache_gb:g}"
    start = time.monotonic()
    try:
        found = run_plant(work, images, settings, options.hours * 3600, [limit])
    except BaseException:
        show_logs(work)
        raise
    found["wall_seconds"] = time.monotonic() - start
    found["cache_gb"], found["test_every"] = options.cache_gb, options.test_every
    found["remark"] = options.remark
    found["features_of_an_earlier_start"] = started_before
    synthetic = index_data(options.data).synthetic
    found["data"] = "Drawings in AutoVI's counts and sizes" if synthetic else options.data.name
    per_station(found, images)
    print(f"\n{found['summary']}; {found['wall_seconds']:.0f} s; {found['seconds']}")
    for station in found["stations"]:
        print(
            f"{station['name']}: {station['training_images']} + {station['test_images']} images, "
            f"{station['megabytes_up']:.1f} MB up, {station['megabytes_down']:.1f} MB down, "
            f"peaks {station['peak_megabytes']}"
        )
    finish({"machine": about, **found}, options.out)


if __name__ == "__main__":
    main()
