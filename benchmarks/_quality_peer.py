"""anomalib's PatchCore on one part, in an interpreter that has it: a job in, maps and scores out.

    PYTHON benchmarks/_quality_peer.py JOB.json

The job names the images, the weight file, the backbone and its layers, the image size and the share
of the patches to keep; maps are written as float32 arrays of the images' own sizes. Everything that
decides a score is anomalib's own code, its search, reweighted image scores and smoothing included.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from PIL import Image
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read(path: str, side: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """A normalized image (1, 3, h, w), shorter side `side` (0: as it is), and its file's size."""
    picture = Image.open(path).convert("RGB")
    size = (picture.height, picture.width)
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    if side and min(size) != side:
        seen = [round(length * side / min(size)) for length in size]
        image = F.interpolate(image, size=seen, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (image - mean) / std, size


def load_model(job: dict[str, Any]) -> PatchcoreModel:
    """Their model with the weights of the file, every tensor that its layers use."""
    model = PatchcoreModel(layers=job["layers"], backbone=job["backbone"], pre_trained=False)
    network = model.feature_extractor.feature_extractor
    state = torch.load(job["weights"], weights_only=True)
    missing = network.load_state_dict(state, strict=False).missing_keys
    if missing:
        sys.exit(f"{job['weights']} has no {missing[0]}, which anomalib's {job['backbone']} uses")
    return model


def main() -> None:
    """Do the job and print what it took."""
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    start = time.perf_counter(), time.process_time()
    model = load_model(job)
    model.train()
    model.feature_extractor.eval()
    for path in job["train"]:
        model(read(path, job["image_size"])[0])
    model.subsample_embedding(job["ratio"])
    model.eval()
    scores = {}
    for path, out in job["test"]:
        image, size = read(path, job["image_size"])
        with torch.no_grad():
            found = model(image)
        found_map = F.interpolate(found.anomaly_map, size=size, mode="bilinear")[0, 0]
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        np.save(out, found_map.numpy().astype(np.float32))
        scores[path] = float(found.pred_score)
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    told = {
        "name": f"anomalib {version('anomalib')}",
        "torch": torch.__version__,
        "rows": len(model.memory_bank),
        "scores": scores,
        "wall_seconds": time.perf_counter() - start[0],
        "cpu_seconds": time.process_time() - start[1],
        "peak_mb": int(peak) * 1024 / 1e6,
    }
    Path(job["out"]).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
