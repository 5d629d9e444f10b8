"""AUC-sPRO side by side with another evaluator: same maps, same masks, one paired run.

    python benchmarks/spro.py DATA --evaluator CHECKOUT/evaluate_experiment.py

The evaluator is a script with the command line of the AutoVI evaluation code (`--object_name`,
`--dataset_base_dir`, `--anomaly_maps_dir`, `--output_dir`, and `localization.auc_spro` in the
`metrics.json` it writes); `--python` is an interpreter that has its dependencies. Without
`--maps`, simple stand-in maps are made from the images and exported. Both sides run on one thread.

Printed for each category: processor seconds for reading (files to arrays) and for evaluating
(arrays to numbers) on both sides, their ratios, and the largest difference over the FPR limits.
The evaluator's reading is told apart if it has a function `read_maps`, as AutoVI's does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from common.data.defects import load_regions
from common.data.images import read_image, read_size
from common.data.layout import DataIndex, index_data
from common.data.regions import Region
from common.evaluation import EvaluationCounts, ExactEvaluation, MapExporter, find_maps, read_map

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


def evaluate_ours(index: DataIndex, category: str, maps: Path, repeats: int) -> dict:
    """Processor seconds to read once, and the median of `repeats` evaluations."""
    start = time.process_time()
    paths = find_maps(maps, category)
    shots = []
    for sample in index.select("test", category):
        size = read_size(sample.path)
        scores = read_map(paths[sample.defect_type, sample.path.stem], size=size)
        regions = load_regions(sample, index.categories[category], size)
        shots.append((scores, regions, sample.label, float(scores.max()), sample.defect_type))
    ours: dict = {"images": len(shots), "read": time.process_time() - start}
    # The other side computes the whole category alone; "exact" does its defect types as well.
    for name, kind, breakdown in (
        ("same work", ExactEvaluation, False),
        ("exact", ExactEvaluation, True),
        ("counts", EvaluationCounts, True),
    ):
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            evaluation = kind()
            for scores, regions, label, score, defect_type in shots:
                evaluation.update(
                    scores, regions, label=label, score=score, defect_type=defect_type
                )
            result = evaluation.compute(breakdown=breakdown)
            seconds.append(time.process_time() - start)
        ours[name] = {
            "seconds": float(np.median(seconds)),
            "auc_spro": {str(limit): v for limit, v in result.overall.auc_spro.items()},
            "bound": max(result.overall.auc_error_bound.values()),
        }
    ours["bytes"] = evaluation.nbytes
    return ours


def evaluate_theirs(args: argparse.Namespace, index: DataIndex, category: str, maps: Path) -> dict:
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


def report(category: str, ours: dict, theirs: dict | None) -> None:
    exact, counts = ours["exact"], ours["counts"]

    def difference(one: dict, other: dict) -> float:
        return max(abs(one[limit] - other[limit]) for limit in one)

    print(f"\n{category}: {ours['images']} maps, read in {ours['read']:.2f} s")
    print("  AUC-sPRO      " + "  ".join(f"@{k} {v:.6f}" for k, v in exact["auc_spro"].items()))
    same = ours["same work"]
    print(f"  exact         {exact['seconds']:.3f} s, {same['seconds']:.3f} s without defect types")
    print(
        f"  merged counts {counts['seconds']:.3f} s, differ from exact by "
        f"{difference(counts['auc_spro'], exact['auc_spro']):.1e} (bound {counts['bound']:.1e}), "
        f"{ours['bytes']:,} bytes"
    )
    if theirs is None:
        return
    read = "" if theirs["read"] is None else f", reading {theirs['read']:.2f} s"
    print(f"  evaluator     {theirs['seconds']:.2f} s{read}")
    print(
        f"  largest difference from exact {difference(exact['auc_spro'], theirs['auc_spro']):.1e}"
    )
    print(f"  ratio, same work              {theirs['seconds'] / same['seconds']:.0f}x")
    print(f"  ratio, with our defect types  {theirs['seconds'] / exact['seconds']:.0f}x")
    total = theirs["seconds"] + (theirs["read"] or 0)
    print(f"  ratio, reading and evaluating {total / (exact['seconds'] + ours['read']):.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data folder in AutoVI's layout")
    parser.add_argument("--categories", nargs="*", help="only these (default: all)")
    parser.add_argument("--maps", type=Path, help="folder of exported maps")
    parser.add_argument("--evaluator", type=Path, help="the other side's script")
    parser.add_argument("--python", default=sys.executable, help="interpreter for the evaluator")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    index = index_data(args.data, args.categories)
    print(f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, one thread")
    # Compiles the exact evaluation's loops, so that no timing holds it.
    warm_up = ExactEvaluation()
    picture, place = np.random.default_rng(0).random((64, 64)), np.zeros((64, 64), dtype=bool)
    place[:8, :8] = True
    warm_up.update(picture, [], label=0, score=1.0, defect_type="good")
    warm_up.update(picture, [Region(place, "any", 9)], label=1, score=1.0, defect_type="any")
    warm_up.compute()
    with tempfile.TemporaryDirectory() as made:
        for category in index.categories:
            maps = args.maps or Path(made)
            if args.maps is None:
                export_stand_in_maps(index, category, maps)
            ours = evaluate_ours(index, category, maps, args.repeats)
            theirs = evaluate_theirs(args, index, category, maps) if args.evaluator else None
            report(category, ours, theirs)


if __name__ == "__main__":
    main()
