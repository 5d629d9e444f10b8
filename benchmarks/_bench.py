"""What the benchmarks share: the machine in words, real features, and a peer to compare with."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from common.config import Settings
from common.data.transforms import Preparation
from common.patchcore.coreset import select_coreset
from common.patchcore.exact.projection import random_projection
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.inputs import as_inputs

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
#: variables that choose BLAS kernels or threads; a figure is told with those that are set
VARIABLES = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def machine() -> dict[str, Any]:
    """Processor, versions, BLAS kernels and threads: a figure means little without them."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    names = ("numpy", "numba", "scikit-learn", "torch")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model,
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "torch_blas": re.findall(r"BLAS_INFO=(\w+)", torch.__config__.show()),
        "blas": [
            {key: pool.get(key) for key in ("prefix", "version", "architecture", "num_threads")}
            for pool in threadpool_info()
        ],
    }


def real_features(rotations: int, images: int, split: str) -> NDArray[np.float32] | None:
    """Patch features of real images of 400x400 (2,500 a picture), or None without the test data.

    ResNet-18 layer2 + layer3 with ImageNet weights: 384 numbers. With four rotations, the
    features of the picture turned by 0, 90, 180 and 270 degrees are turned back and joined: 1536
    numbers, as many as the default backbone's, with the structure of a pretrained network.
    """
    folder = os.environ.get("FEDPATCHCORE_TEST_DATA", "")
    weights = sorted((Path(folder) / "weights").glob("resnet18*.pth")) if folder else []
    if not weights:
        return None
    category = sorted((Path(folder) / "parts").iterdir())[0]
    paths = sorted((category / split).glob("*/*.png"))
    settings = Settings(backbone="resnet18", weights=str(weights[0]), image_size=400, device="cpu")
    extractor = FeatureExtractor.from_settings(settings)
    blocks = []
    for image in as_inputs(paths[:: max(1, len(paths) // images)][:images]):
        picture = image.tensor(Preparation(400))
        turned = extractor(torch.stack([picture.rot90(r, (1, 2)) for r in range(rotations)]))
        back = [np.rot90(part, -r, (0, 1)) for r, part in enumerate(turned)]
        blocks.append(np.concatenate(back, axis=-1).reshape(-1, 384 * rotations))
    return np.concatenate(blocks)


def stand_in_features(n: int, d: int, seed: int) -> NDArray[np.float32]:
    """Non-negative rows whose principal components fall off like a pretrained network's."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).standard_normal((256, d)).astype(np.float32)
    strength = (np.arange(1, 257) ** -0.7).astype(np.float32)
    rows = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 8192):
        size = min(8192, n - start)
        draw = rng.standard_normal((size, 256), dtype=np.float32) * strength
        noise = rng.standard_normal((size, d), dtype=np.float32)
        rows[start : start + size] = np.maximum(draw @ directions + 0.05 * noise, 0)
    return rows


def pretrained(bank_size: int, images: int) -> tuple[str, Pair]:
    """A coreset of training features as the bank, one test image as queries."""
    train = real_features(rotations=4, images=images, split="train")
    test = real_features(rotations=4, images=2, split="test")
    kind = "ResNet-18 features of real images, four rotations"
    if train is None or test is None:
        train, test = stand_in_features(2500 * images, 1536, 1), stand_in_features(2500, 1536, 2)
        kind = "stand-in features"
    chosen = select_coreset(train, bank_size, projection=random_projection(1536, 128, seed=0))
    return kind, (train[chosen.indices], test[:2500])


class Peer:
    """The other side, running beside us so that both are timed in turn."""

    def __init__(self, python: str | None, threads: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        environment["MKL_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = str(threads)
        self.process = subprocess.Popen(
            [python or sys.executable, "-W", "ignore", str(Path(__file__).parent / "_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.about = self.ask(do="hello", threads=threads)

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the peer ended; its message is above")
        return json.loads(line)

    def load(self, name: str, array: NDArray[np.float32]) -> None:
        """Give the peer an array, by file: not part of any time."""
        path = Path(self.folder.name) / f"{name}.npy"
        np.save(path, array)
        self.ask(do="load", name=name, path=str(path))
        path.unlink()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.folder.cleanup()


def finish(result: dict[str, Any], out: Path | None) -> None:
    """Write the JSON and say where."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {out}")
