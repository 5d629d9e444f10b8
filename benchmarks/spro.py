"""AUC-sPRO side by side with other ways to compute it: same maps, same masks, one paired run.

    python benchmarks/spro.py [DATA] [--quick] [--evaluator CHECKOUT/evaluate_experiment.py]
        [--python PYTHON] [--out FILE.json]

Without DATA the package's own drawings are used, at AutoVI's image sizes (`--quick`: smaller).
Without `--maps`, simple stand-in maps are made from the images and exported as 16-bit files, which
all sides read. The peers:

* a plain sweep, written here from the definition with numpy alone: every score of every pixel is a
  threshold, all are sorted at once. Its values must equal ours. And scikit-learn's
  `roc_auc_score` over the same pixels, for the pixel AUROC.
* with `--evaluator`, a script with the command line of the AutoVI evaluation code
  (`--object_name`, `--dataset_base_dir`, `--anomaly_maps_dir`, `--output_dir`, and
  `localization.auc_spro` in the `metrics.json` it writes); `--python` is an interpreter that has
  its dependencies. It takes about a thousand thresholds, so its values differ a little from the
  exact ones. It runs once: its reading is told apart if it has a function `read_maps`, as AutoVI's.

All sides run on one thread, ours and the plain ones in turns; seconds are processor seconds from
arrays to numbers, and for reading (files to arrays) where said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from benchmarks._bench import finish, machine
from common.data.defects import load_regions
from common.data.images import read_image, read_size
from common.data.layout import DataIndex, index_data
from common.data.regions import Region
from common.data.synthetic.write import write_synthetic
from common.evaluation import EvaluationCounts, ExactEvaluation, MapExporter, find_maps, read_map
from common.evaluation.curve import FPR_LIMITS

#: scores, regions, label, image score, defect type
Shot = tuple[NDArray[np.float32], list[Region], int, float, str]
#: training images a category and side of the small pictures; AutoVI's evaluator expects 400
DRAWN, QUICKLY_DRAWN = (6, 400), (4, 128)

# Runs the evaluator as it is, and notes how much processor time it spent when maps were read.
DRIVER = """
import json, runpy, sys, time
from pathlib import Path
script, times = Path(sys.argv[1]), sys.argv[2]
sys.argv = [str(script), *sys.argv[3:]]
sys.path.insert(0, str(script.parent))
import importlib
module = importlib.import_module(script.stem)
noted = {"imported": time.process_time(), "read": None}
if hasattr(module, "read_maps"):
    read_maps = module.read_maps
    def timed(*args, **kwargs):
        result = read_maps(*args, **kwargs)
        noted["read"] = time.process_time()
        return result
    module.read_maps = timed
module.main()
noted["done"] = time.process_time()
Path(times).write_text(json.dumps(noted))
"""


def export_stand_in_maps(index: DataIndex, category: str, folder: Path) -> None:
    """Maps from how far each pixel lies from the mean training image, smoothed."""
    training = [
        np.asarray(read_image(sample.path), dtype=np.float32)
        for sample in index.select("train", category)[:40]
    ]
    mean, spread = np.mean(training, axis=0), np.std(training, axis=0) + 8
    with MapExporter(folder, category) as exporter:
        for sample in index.select("test", category):
            pixels = np.asarray(read_image(sample.path), dtype=np.float32)
            distance = np.sqrt((((pixels - mean) / spread) ** 2).sum(axis=-1))
            exporter.add(sample.defect_type, sample.path.stem, gaussian_filter(distance, 4))


def read_shots(index: DataIndex, category: str, maps: Path) -> list[Shot]:
    """Maps and regions of all test images."""
    paths = find_maps(maps, category)
    shots = []
    for sample in index.select("test", category):
        size = read_size(sample.path)
        scores = read_map(paths[sample.defect_type, sample.path.stem], size=size)
        regions = load_regions(sample, index.categories[category], size)
        if regions is None:
            sys.exit(f"{sample.path} has no mask: AUC-sPRO cannot be computed")
        shots.append((scores, regions, sample.label, float(scores.max()), sample.defect_type))
    return shots


def plain_sweep(shots: list[Shot]) -> dict[str, float]:
    """AUC-sPRO by its definition, each pixel's score a threshold: one sort, then running sums."""
    n_regions = sum(len(regions) for _, regions, *_ in shots)
    scores, normal, gain = [], [], []
    for anomaly_map, regions, *_ in shots:
        flat = anomaly_map.ravel()
        outside, rise = np.ones(flat.size), np.zeros(flat.size)
        for region in regions:
            inside = np.flatnonzero(region.mask)
            outside[inside] = 0
            # Those found first count, until the region is saturated.
            first = inside[np.argsort(-flat[inside])[: region.saturation_area]]
            rise[first] += 1 / (region.saturation_area * n_regions)
        scores.append(flat)
        normal.append(outside)
        gain.append(rise)
    order = np.argsort(-np.concatenate(scores))
    ordered = np.concatenate(scores)[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # equal scores fall together
    false_positives = np.cumsum(np.concatenate(normal)[order])[last]
    fpr = np.append(0, false_positives / false_positives[-1])
    spro = np.append(0, np.cumsum(np.concatenate(gain)[order])[last])
    found = {}
    for limit in FPR_LIMITS:
        kept = fpr <= limit
        x = np.append(fpr[kept], limit)
        y = np.append(spro[kept], np.interp(limit, fpr, spro))
        found[str(limit)] = float(np.trapezoid(y, x) / limit)
    return found


def plain_auroc(shots: list[Shot]) -> float:
    """Pixel AUROC by scikit-learn: pixels of any region against the rest."""
    anomalous = []
    for anomaly_map, regions, *_ in shots:
        mask = np.zeros(anomaly_map.shape, dtype=bool)
        for region in regions:
            mask |= region.mask
        anomalous.append(mask.ravel())
    scores = np.concatenate([shot[0].ravel() for shot in shots])
    return float(roc_auc_score(np.concatenate(anomalous), scores))


def evaluate(shots: list[Shot], kind: Any, breakdown: bool) -> tuple[Any, Any]:
    """Ours: the evaluation and its result."""
    evaluation = kind()
    for scores, regions, label, score, defect_type in shots:
        evaluation.update(scores, regions, label=label, score=score, defect_type=defect_type)
    return evaluation, evaluation.compute(breakdown=breakdown)


def in_turns(shots: list[Shot], repeats: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Processor seconds of every way in turns, and the last value of each."""
    ways: dict[str, Callable[[], Any]] = {
        # The other sides compute the whole category alone; "exact" does its defect types as well.
        "same work": lambda: evaluate(shots, ExactEvaluation, False),
        "plain sweep": lambda: plain_sweep(shots),
        "exact": lambda: evaluate(shots, ExactEvaluation, True),
        "scikit-learn": lambda: plain_auroc(shots),
        "counts": lambda: evaluate(shots, EvaluationCounts, True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    values: dict[str, Any] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.process_time()
            values[name] = way()
            seconds[name].append(time.process_time() - start)
    return seconds, values


def difference(one: dict[str, float], other: dict[str, float]) -> float:
    """The largest over the FPR limits."""
    return max(abs(one[limit] - other[limit]) for limit in one)


def compare(shots: list[Shot], repeats: int) -> dict[str, Any]:
    """Ours beside the plain peers; they must agree."""
    seconds, values = in_turns(shots, repeats)
    exact, (counts, merged) = values["exact"][1].overall, values["counts"]
    ours = {str(limit): value for limit, value in exact.auc_spro.items()}
    result: dict[str, Any] = {
        "images": len(shots),
        "size": list(shots[0][0].shape),
        "regions": sum(len(regions) for _, regions, *_ in shots),
        "auc_spro": ours,
        "cpu_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "ratios": {
            name: statistics.median(
                b / a for a, b in zip(seconds["same work"], seconds[name], strict=True)
            )
            for name in ("plain sweep", "scikit-learn")
        },
        "difference": {
            "plain sweep": difference(ours, values["plain sweep"]),
            "scikit-learn": abs(exact.pixel_auc_roc - values["scikit-learn"]),
            "counts": difference(ours, {str(k): v for k, v in merged.overall.auc_spro.items()}),
        },
        "counts_bound": max(merged.overall.auc_error_bound.values()),
        "counts_bytes": counts.nbytes,
    }
    assert result["difference"]["plain sweep"] < 1e-9
    assert result["difference"]["scikit-learn"] < 1e-9
    assert result["difference"]["counts"] <= result["counts_bound"]
    return result


def evaluate_theirs(
    args: argparse.Namespace, index: DataIndex, category: str, maps: Path
) -> dict[str, Any]:
    """Run the evaluator on the same files."""
    with tempfile.TemporaryDirectory() as out:
        times = Path(out) / "times.json"
        command = [args.python, "-c", DRIVER, str(args.evaluator.resolve()), str(times)]
        command += ["--object_name", category, "--output_dir", out]
        command += ["--dataset_base_dir", str(index.categories[category].folder.parent)]
        command += ["--anomaly_maps_dir", str((maps / category / "test").resolve())]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            sys.exit(f"the evaluator failed on {category}:\n{done.stderr}")
        noted = json.loads(times.read_text())
        metrics = json.loads((Path(out) / "metrics.json").read_text())
    read = noted["read"]
    return {
        "read": None if read is None else read - noted["imported"],
        "seconds": noted["done"] - (noted["imported"] if read is None else read),
        "auc_spro": metrics["localization"]["auc_spro"],
    }


def about_evaluator(script: Path) -> dict[str, Any]:
    """Which script it was; AutoVI's readme tells a version."""
    readme = script.parent / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    told = re.search(r"version of this evaluation script is:\s*([\w.]*\w)", text)
    return {
        "script": script.name,
        "version": told[1] if told else None,
        "sha256": hashlib.sha256(script.read_bytes()).hexdigest(),
    }


def report(category: str, result: dict[str, Any]) -> None:
    """Print one category."""
    seconds, apart = result["cpu_seconds"], result["difference"]
    print(f"\n{category}: {result['images']} maps, read in {result['read']:.2f} s")
    print("  AUC-sPRO      " + "  ".join(f"@{k} {v:.6f}" for k, v in result["auc_spro"].items()))
    print(
        f"  exact         {seconds['exact']:.3f} s, "
        f"{seconds['same work']:.3f} s without defect types"
    )
    print(
        f"  merged counts {seconds['counts']:.3f} s, differ from exact by {apart['counts']:.1e} "
        f"(bound {result['counts_bound']:.1e}), {result['counts_bytes']:,} bytes"
    )
    for name, ratio in result["ratios"].items():
        print(
            f"  {name:13s} {seconds[name]:.3f} s, ratio {ratio:.1f}x, "
            f"differs from exact by {apart[name]:.1e}"
        )
    if "evaluator" not in result:
        return
    theirs = result["evaluator"]
    read = "" if theirs["read"] is None else f", reading {theirs['read']:.2f} s"
    print(f"  evaluator     {theirs['seconds']:.2f} s{read}")
    print(f"  largest difference from exact {theirs['difference']:.1e}")
    print(f"  ratio, same work              {theirs['ratio']:.0f}x")
    print(f"  ratio, with our defect types  {theirs['seconds'] / seconds['exact']:.0f}x")
    total = theirs["seconds"] + (theirs["read"] or 0)
    print(f"  ratio, reading and evaluating {total / (seconds['exact'] + result['read']):.1f}x")


def warm_up() -> None:
    """Compile the exact evaluation's loops, so that no timing holds it."""
    evaluation = ExactEvaluation()
    picture, place = np.random.default_rng(0).random((64, 64)), np.zeros((64, 64), dtype=bool)
    place[:8, :8] = True
    evaluation.update(picture, [], label=0, score=1.0, defect_type="good")
    evaluation.update(picture, [Region(place, "any", 9)], label=1, score=1.0, defect_type="any")
    evaluation.compute()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="in AutoVI's layout; default: drawn")
    parser.add_argument("--quick", action="store_true", help="small drawings, under a minute")
    parser.add_argument("--categories", nargs="*", help="only these (default: all)")
    parser.add_argument("--maps", type=Path, help="folder of exported maps")
    parser.add_argument("--evaluator", type=Path, help="the other side's script")
    parser.add_argument("--python", default=sys.executable, help="interpreter for the evaluator")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "maps": "given"}
    print(f"{result['machine']}\none thread", flush=True)
    peers = ["plain sweep in numpy", f"scikit-learn {version('scikit-learn')}"]
    if args.evaluator:
        result["evaluator"] = about_evaluator(args.evaluator)
        peers.append(f"{args.evaluator.name} {result['evaluator']['version'] or ''}".strip())
    result["peer"] = {"name": ", ".join(peers)}
    warm_up()
    with tempfile.TemporaryDirectory() as made:
        data, result["data"] = args.data, "given images"
        if data is None:
            images, side = QUICKLY_DRAWN if args.quick else DRAWN
            data = Path(made) / "data"
            write_synthetic(data, images=images, size=side)
            result["data"] = f"drawn images, {images} training images a category"
        index = index_data(data, args.categories)
        result["categories"] = {}
        for category in index.categories:
            maps = args.maps or Path(made) / "maps"
            if args.maps is None:
                export_stand_in_maps(index, category, maps)
                result["maps"] = "stand-in"
            start = time.process_time()
            shots = read_shots(index, category, maps)
            read = time.process_time() - start
            facts = compare(shots, args.repeats) | {"read": read}
            if args.evaluator:
                theirs = evaluate_theirs(args, index, category, maps)
                theirs["difference"] = difference(facts["auc_spro"], theirs["auc_spro"])
                theirs["ratio"] = theirs["seconds"] / facts["cpu_seconds"]["same work"]
                facts["evaluator"] = theirs
            report(category, facts)
            result["categories"][category] = facts
    finish(result, args.out)


if __name__ == "__main__":
    main()
