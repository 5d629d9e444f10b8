"""anomalib beside us: one bank for each part, the same images, weights, size and rows."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

from sklearn.metrics import roc_auc_score

from benchmarks._plant import TOOL
from common.config import Settings
from common.data.holdout import hold_out_as_stations
from common.data.images import read_size
from common.data.layout import DataIndex, Sample
from common.data.transforms import Preparation

LIMIT = "0.05"
PEER = Path(__file__).parent / "_quality_peer.py"


def compare(
    options: argparse.Namespace, data: Path, index: DataIndex, space: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run anomalib for every part and seed, where it can be had.

    Parameters
    ----------
    options : Namespace
        Those of `quality.py`.
    data : Path
    index : DataIndex
    space : dict
        The feature space of our runs.

    Returns
    -------
    (about, runs)
        Its `name`, or why it is `missing`; runs as those of the other methods.
    """
    settings = Settings().override(options.set)
    missing = ""
    if not options.anomalib_python:
        missing = "its interpreter was not given (--anomalib-python)"
    elif space["family"] != "resnet":
        missing = f"the weights of {space['backbone']} have other names there"
    elif not settings.weights.endswith(".pth"):
        missing = "it is compared with weights of a .pth file (--set weights=FILE)"
    elif options.vary:
        missing = "a varied setting is ours alone"
    if missing:
        return {"name": None, "missing": missing}, []
    runs, told = [], {}
    for seed in options.seeds[: options.anomalib_seeds]:
        own = settings.with_(seed=seed, partition="iid")
        bank = hold_out_as_stations(index.samples, own).bank
        run: dict[str, Any] = {"method": "anomalib", "scope": "category", "seed": seed}
        run |= {"variant": "", "bank_rows": 0, "parts": {}, "peak_together_mb": 0.0}
        run |= {"wall_seconds": 0.0, "cpu_seconds": 0.0}
        for part in index.categories:
            train = [sample for sample in bank if sample.category == part]
            told = _one(part, train, own, data, index, space, options)
            run["bank_rows"] += told["rows"]
            for key in ("wall_seconds", "cpu_seconds"):
                run[key] += told[key]
            run["peak_together_mb"] = max(run["peak_together_mb"], told["peak_mb"])
            run["parts"][part] = told["figures"]
            print(f"anomalib-{part}-seed{seed}: {told['cpu_seconds']:.0f} s", told["figures"])
        runs.append(run)
    return {"name": told["name"], "torch": told["torch"], "missing": ""}, runs


def _one(
    part: str,
    train: list[Sample],
    settings: Settings,
    data: Path,
    index: DataIndex,
    space: dict[str, Any],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """One part with one seed; of an earlier start if it is there."""
    work = options.work / f"anomalib-{part}-seed{settings.seed}"
    note = Path(f"{work}.json")
    patches = sum(_patches(read_size(sample.path), space) for sample in train)
    # The rows that a bank of this part's own has in our runs.
    share = settings.global_bank_size // len(index.categories)
    rows = min(math.ceil(settings.local_coreset_ratio * patches), share)
    test = index.select("test", part)
    maps = [work / "maps" / part / "test" / s.defect_type / f"{s.path.stem}.npy" for s in test]
    job = {
        "backbone": space["backbone"],
        "layers": space["layers"],
        "image_size": space["image_size"],
        "weights": settings.weights,
        "ratio": (rows + 0.5) / patches,
        "seed": settings.seed,
        "threads": 1,
        "train": [str(sample.path) for sample in train],
        "test": [[str(s.path), str(out)] for s, out in zip(test, maps, strict=True)],
        "out": str(work / "told.json"),
    }
    if note.is_file():
        kept = json.loads(note.read_text())
        if kept["job"] == job:
            return kept["told"]
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "job.json").write_text(json.dumps(job))
    words = [options.anomalib_python, "-W", "ignore", str(PEER), str(work / "job.json")]
    subprocess.run(words, check=True, timeout=60 * options.minutes, stderr=subprocess.DEVNULL)
    told = json.loads((work / "told.json").read_text())
    out = work / "evaluated"
    words = [TOOL, "evaluate", "--maps", str(work / "maps"), str(data), "--out", str(out)]
    subprocess.run([*words, "--method", "anomalib"], check=True, stdout=subprocess.DEVNULL)
    (found,) = out.glob(f"**/metrics/*/{part}/metrics.json")
    metrics = json.loads(found.read_text())
    labels = [sample.label for sample in test]
    told["figures"] = {
        "image_auroc": float(roc_auc_score(labels, [told["scores"][str(s.path)] for s in test])),
        "auc_spro": metrics["localization"]["auc_spro"][LIMIT],
    }
    del told["scores"]
    note.write_text(json.dumps({"job": job, "told": told}))
    shutil.rmtree(work / "maps")
    return told


def _patches(size: tuple[int, int], space: dict[str, Any]) -> int:
    height, width = Preparation(space["image_size"]).seen(size)
    stride = space["stride"]
    return -(-height // stride) * -(-width // stride)
