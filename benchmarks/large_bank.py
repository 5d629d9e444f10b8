"""A bank of 600 MB from each of two stations, through a real plant: peak memory and time.

    python benchmarks/large_bank.py [--megabytes 614] [--out FILE.json]

Everything is real and on this machine: keys, TLS, a SuperLink with its database, an executor, the
gateway, two stations with SuperNodes behind their relays, the program's own ServerApp and
ClientApp. The images are noise of 1000 x 750 pixels; features of ResNet-18's four layers (960
numbers, a patch every four pixels) make many rows of few images, and `local-coreset-ratio` 1 lets a
station send nearly all of them. So each station sends a bank of so many megabytes in parts, and the
global bank, as large as that of one station, goes down to both in parts again.

The peak memory of a process is the kernel's own record (VmHWM), read until the process ends.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks._bench import finish, machine
from benchmarks._plant import end_when_told, run_plant, show_logs

STATIONS = ("north", "south")
HEIGHT, WIDTH = 750, 1000
SMALL = (60, 80)
PATCHES = -(-HEIGHT // 4) * -(-WIDTH // 4)
ROW_BYTES = 960 * 4  # float32


def make_images(root: Path, bank_images: int, seed: int) -> None:
    """Noise that is smooth enough to look like something.

    What is judged is small, because it is the bank's way that is measured: the last training
    image, which is held out, and the test images.
    """
    rng = np.random.default_rng(seed)
    sizes = [("train/good", (HEIGHT, WIDTH))] * bank_images
    sizes += [("train/good", SMALL), ("test/good", SMALL), ("test/good", SMALL)]
    for number, (folder, (height, width)) in enumerate(sizes):
        coarse = rng.integers(0, 255, (height // 10, width // 10, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((width, height)), np.int16)
        noise = rng.integers(-20, 20, picture.shape, dtype=np.int16)
        pixels = np.clip(picture + noise, 0, 255).astype(np.uint8)
        path = root / "plate" / folder / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def measure(megabytes: float, aggregation: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Run the plant once."""
    rows = round(megabytes * 1e6 / ROW_BYTES)
    images = {station: folder / "images" / station for station in STATIONS}
    for seed, root in enumerate(images.values()):
        make_images(root, -(-rows // PATCHES), seed)
    settings = {
        "backbone": "resnet18",
        "layers": "layer1,layer2,layer3,layer4",
        "weights": "random",
        "wire-dtype": "float32",
        "coreset-projection": 16,
        "local-coreset-ratio": 1.0,
        "global-bank-size": rows,
        "oversample-factor": 2.0,
        "aggregation": aggregation,
        "device": "cpu",
        "num-workers": 1,
        "round-timeout": int(seconds),
    }
    found = run_plant(folder, images, settings, 5 * seconds)
    return {"bank_megabytes": rows * ROW_BYTES / 1e6, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=614.4, help="of each station's bank")
    parser.add_argument("--quick", action="store_true", help="60 megabytes")
    parser.add_argument("--aggregation", default="federated_coreset")
    parser.add_argument("--seconds", type=float, default=1800, help="round-timeout")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    end_when_told()
    megabytes = 60.0 if options.quick else options.megabytes
    about = machine()
    with tempfile.TemporaryDirectory(prefix="large-bank-") as folder:
        try:
            found = measure(megabytes, options.aggregation, Path(folder), options.seconds)
        except BaseException:
            show_logs(Path(folder))
            raise
    print(f"\n{found['summary']}; seconds: {found['seconds']}")
    for station in found["stations"]:
        print(
            f"{station['name']}: {station['contribution']['rows_sent']} rows, "
            f"{station['megabytes_up']:.0f} MB up, "
            f"{station['megabytes_down']:.0f} MB down"
        )
    print(f"\n{'process':40} {'peak MB':>8}")
    for name, peak in found["peak_megabytes"].items():
        print(f"{name:40} {peak:8.0f}")
    print(f"{'all at one moment (shared pages twice)':40} {found['peak_megabytes_together']:8.0f}")
    finish({"machine": about, **found}, options.out)


if __name__ == "__main__":
    main()
