"""Peak memory of a station's fit, through the real streaming path, by GNU time.

    python benchmarks/memory.py [--quick | --large] [--out FILE.json]

Each case is a process of its own under `/usr/bin/time -v` (Debian package `time`): 200,000 patches
of 1536 numbers with 20,000 kept, without a network, beside the pattern that keeps every feature in
memory (its selection is cut off after one choice: its memory does not grow any more). `--large`
measures instead 300 image files of 1000x750 at stride 8, 3.5 million patches, all of them computed
by WideResNet-50-2 (minutes, and 13 GB of disk): nothing is left out of that figure. Features are
spilled to disk as `fit` does without a cache; the most disk that was used is told, and that it is
free again.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks._bench import finish, machine
from common.config import Settings
from common.patchcore.distances import Distances
from common.patchcore.local_bank import build_local_bank
from common.patchcore.network.architectures import DEFAULT, find_backbone
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput

DIM = 1536
#: images, height, width, rows kept, whether a network computes them from files
CASES = {
    "quick": (8, 400, 400, 2000, False),
    "station": (80, 400, 400, 20_000, False),
    "large": (300, 750, 1000, 20_000, True),
}
#: GB: beside what importing takes, and in all.
LIMITS = {"station": {"beside_imports": 0.6}, "large": {"in_all": 3.5}}


class MadeUp:
    """Stands where the extractor stands; features of the right shape and spread."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.feature_dim, self.device, self.producer = DIM, torch.device("cpu"), "made-up"
        self.space = FeatureSpace(
            DEFAULT, find_backbone(DEFAULT).default_layers, 3, 0, "float32", "made up", "none"
        )
        self.grid = self.space.patch_grid(size)
        rng = np.random.default_rng(0)
        patches = self.grid[0] * self.grid[1]
        strong = rng.standard_normal((patches, 64), dtype=np.float32) * np.float32(2)
        self.rows = strong @ rng.standard_normal((64, DIM), dtype=np.float32)
        self.noise = rng.standard_normal(8_000_000, dtype=np.float32)

    def rest(self) -> None:
        """Has no network that could."""

    def __call__(self, batch: torch.Tensor) -> NDArray[np.float32]:
        """Features (1, rows, columns, d) of one image."""
        number = round(float(batch[0, 0, 0, 0]) * 1000) % 1_000_003
        rng = np.random.default_rng(number)
        out = np.empty_like(self.rows)
        step = len(self.noise) // DIM // 2
        for begin in range(0, len(out), step):
            part = self.rows[begin : begin + step]
            shift = int(rng.integers(len(self.noise) - part.size))
            np.add(
                part,
                self.noise[shift : shift + part.size].reshape(part.shape),
                out=out[begin : begin + step],
            )
        return np.maximum(out, 0, out=out).reshape(1, *self.grid, DIM)


def pictures(count: int, size: tuple[int, int]) -> list[ImageInput]:
    """Images that take no memory until they are looked at: each of one value."""
    values = np.arange(count * 3, dtype=np.uint32).reshape(count, 3) * 7919 % 256
    return [ImageInput(np.broadcast_to(value.astype(np.uint8), (*size, 3))) for value in values]


def draw_files(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Image files of blotches and grain, every one different."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(40, 216, (12, 16, 3), dtype=np.uint8)
        blotches = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
        grain = rng.integers(0, 32, (*size, 1), dtype=np.uint8)
        picture = Image.fromarray(np.asarray(blotches) // 2 + grain)
        picture.save(folder / f"{number:04d}.png", compress_level=1)


def run_case(name: str, keep_all: bool, files: Path | None) -> dict[str, Any]:
    """What the measured process does."""
    images, height, width, budget, with_network = CASES[name]
    size = (height, width)
    before, start = time.process_time(), time.perf_counter()
    extractor: Any
    if with_network:
        assert files is not None
        extractor = FeatureExtractor.from_settings(Settings(weights="random", device="cpu"))
        inputs = [ImageInput(path) for path in sorted(files.iterdir())]
    else:
        extractor = MadeUp(size)
        inputs = pictures(images, size)
    if keep_all:
        rows = [
            extractor(image.tensor(extractor.space.preparation)[None]).reshape(-1, DIM)
            for image in inputs
        ]
        patch_features = np.concatenate(rows)
        distances = np.linalg.norm(patch_features - patch_features[0], axis=1)
        return {"patches": len(patch_features), "radius": float(distances.max())}
    most, done = [0], threading.Event()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:

        def watch() -> None:
            while not done.wait(1.0):
                used = sum(f.stat().st_size for f in Path(folder).glob("*/*.npy"))
                most[0] = max(most[0], used)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            source = FeatureSource(extractor, FeatureCache(Path(folder), 2**50), workers=2)
            bank = build_local_bank(source, inputs, budget, Distances(128, 0))
            most[0] = max(most[0], sum(f.stat().st_size for f in Path(folder).glob("*/*.npy")))
        finally:
            done.set()
            watcher.join()
    return {
        "patches": bank.patches,
        "kept": len(bank.rows),
        "cpu_seconds": time.process_time() - before,
        "wall_seconds": time.perf_counter() - start,
        "disk_bytes": most[0],
        "disk_left": Path(folder).exists(),
    }


def measured(name: str, keep_all: bool = False) -> dict[str, Any]:
    """Run a case under GNU time."""
    gnu_time = shutil.which("time")
    if gnu_time is None:
        sys.exit("GNU time is missing; install the package `time`")
    command = [gnu_time, "-v", sys.executable, "-m", "benchmarks.memory", "--case", name]
    if keep_all:
        command.append("--keep-all")
    images, height, width, _, with_network = CASES.get(name, (0, 0, 0, 0, False))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if with_network:
            draw_files(Path(folder), images, (height, width))
            command += ["--files", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    found = re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)
    assert found is not None
    facts = json.loads(done.stdout.splitlines()[-1])
    peak = int(found[1]) * 1024 / 1e9
    print(
        f"{name}{', everything kept' if keep_all else ''}: peak {peak:.2f} GB, {facts}", flush=True
    )
    limit = {} if keep_all else LIMITS.get(name, {})
    return {"peak_gb": peak, "limit_gb": limit, **facts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small case, under a minute")
    parser.add_argument("--large", action="store_true", help="3.5 million patches (minutes)")
    parser.add_argument("--case", choices=[*CASES, "imports"], help=argparse.SUPPRESS)
    parser.add_argument("--keep-all", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.case:
        facts = {}
        if options.case != "imports":
            facts = run_case(options.case, options.keep_all, options.files)
        print(json.dumps(facts))
        return
    name = "quick" if options.quick else "large" if options.large else "station"
    result: dict[str, Any] = {"machine": machine()}
    result["imports_gb"] = measured("imports")["peak_gb"]
    result["cases"] = {name: measured(name)}
    if not options.large:  # which nothing could hold in memory
        result["cases"][f"{name}, everything kept"] = measured(name, True)
    finish(result, options.out)


if __name__ == "__main__":
    main()
