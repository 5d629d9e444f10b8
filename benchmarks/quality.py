"""How well parts are judged, over any folder of parts: federated, in one place, and anomalib.

    python benchmarks/quality.py [FOLDER...] [--parts PART...] [--set KEY=VALUE]...
        [--vary KEY=VALUE,VALUE...] [--disturb turned|lit] [--seeds 1 2 3] [--in-process]
        [--anomalib-python PYTHON] [--name NAME] [--work FOLDER] [--out FILE.json]

Without a folder the drawn set; the parts of several folders are put side by side and share their
stations and banks. Every figure is of a real command: `fedpatchcore baseline` (centralized) and
`fedpatchcore federate` (IID and by category), for each bank scope and seed; with `--in-process` of
the same code without Flower's processes, whose start takes a minute a run. Runs lie in `--work`;
those that are there and were asked for the same way are not repeated. Both sides have banks of as
many rows: where each part has a bank of its own, `global-bank-size` is the total.

All runs share one cache of features, which the first of them fill: seconds are medians over the
seeds. `--vary augment=none,rotations` has every run once for each
value of a setting; `--disturb turned` (or `lit`) turns every second test image by 90 degrees (or
multiplies its brightness by 0.85), defects and all.

anomalib runs in its own interpreter (`_quality_peer.py`), with the same weights, images, size and
rows, one bank for each part; its maps are evaluated by `fedpatchcore evaluate`, its image scores
(reweighted) as they are. It is for ResNets, whose weights have the same names there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._bench import finish, machine
from benchmarks._in_process import run_here
from benchmarks._quality_anomalib import compare
from benchmarks._quality_data import DISTURBED, put_together
from benchmarks.end_to_end import judged, run_command
from benchmarks.render import write_pages
from common.data.layout import DataIndex

FOLDER = Path(__file__).resolve().parent
METHODS = {
    "centralized": ("baseline", "iid"),  # its partition decides what is held out
    "federated_iid": ("federate", "iid"),
    "federated_category": ("federate", "category"),
}
SCOPES = ("shared", "category")


@dataclass(frozen=True)
class Case:
    """One run: a method, a scope, a seed, and a varied setting or ""."""

    method: str
    scope: str
    seed: int
    variant: str

    @property
    def name(self) -> str:
        """Of its folder."""
        words = [self.method, self.scope, *([self.variant] if self.variant else [])]
        return "-".join([*words, f"seed{self.seed}"])


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Every run, seed by seed, so that a first comparison stands early."""
    variants = [""]
    if options.vary:
        key, _, values = options.vary.partition("=")
        variants = [f"{key}={value}" for value in values.split(",")]
    for seed in options.seeds:
        for scope in options.scopes:
            for method in options.methods:
                for variant in variants:
                    yield Case(method, scope, seed, variant)


def do(case: Case, data: Path, index: DataIndex, options: argparse.Namespace) -> dict[str, Any]:
    """One run and what it took; of an earlier start if it was asked for the same way."""
    command, partition = METHODS[case.method]
    given = dict(word.split("=", 1) for word in options.set)
    if case.variant:
        given |= dict([case.variant.split("=", 1)])
    given |= {"partition": partition, "bank-scope": case.scope, "seed": str(case.seed)}
    if case.method == "centralized" and case.scope == "category":
        # The size is each bank's there, and the total in a federated run.
        share = int(given["global-bank-size"]) // len(index.categories)
        given["global-bank-size"] = str(max(1, share))
    words = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    out = options.work / case.name
    note = Path(f"{out}.json")
    if note.is_file():
        told = json.loads(note.read_text())
        if told["words"] == words:
            return told
    if options.in_process:
        took = run_here(command, data, out, words[1::2])
    else:
        asked = [command, str(data), "--out", str(out), *words]
        took = run_command(case.name, asked, options.work / "cache", options.minutes)
    metrics = judged(out)
    told = {
        "words": words,
        "method": case.method,
        "scope": case.scope,
        "seed": case.seed,
        "variant": case.variant,
        "wall_seconds": took["wall_seconds"],
        "cpu_seconds": took["cpu_seconds"],
        "peak_together_mb": took["peak_together_mb"],
        "bank_rows": metrics["bank_rows"],
        "parts": {
            name: {key: facts[key] for key in ("image_auroc", "auc_spro")}
            for name, facts in metrics["categories"].items()
        },
        "feature_space": json.loads((out / "run.json").read_text())["feature_space"],
    }
    note.write_text(json.dumps(told))
    return told


def counts(index: DataIndex) -> dict[str, dict[str, int]]:
    """Training, good and defective test images of every part."""
    told = {}
    for part in index.categories:
        test = index.select("test", part)
        good = sum(sample.defect_type == "good" for sample in test)
        train = len(index.select("train", part))
        told[part] = {"train": train, "good": good, "defective": len(test) - good}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="folders of parts")
    parser.add_argument("--parts", nargs="+", default=[], help="only these")
    parser.add_argument("--disturb", choices=list(DISTURBED), default="", help="second test images")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--vary", metavar="KEY=VALUE,VALUE", help="a setting to compare")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=list(SCOPES))
    parser.add_argument("--anomalib-python", help="interpreter of an environment with anomalib")
    parser.add_argument("--anomalib-seeds", type=int, help="of the seeds, for it (default: all)")
    parser.add_argument("--in-process", action="store_true", help="without Flower's processes")
    parser.add_argument("--name", help="of the data, in the page and the JSON's name")
    parser.add_argument("--work", type=Path, help="where runs lie (default: outputs/quality/NAME)")
    parser.add_argument("--minutes", type=float, default=60, help="of each command at most")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/quality-NAME.json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.name = options.name or "-".join(folder.name for folder in options.folders) or "drawn"
    options.work = (options.work or Path("outputs/quality") / options.name).resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    out = options.out or FOLDER / "results" / f"quality-{options.name}.json"
    # One cache for all of them, and no other's.
    os.environ.pop("FEDPATCHCORE_CACHE", None)
    os.environ["XDG_CACHE_HOME"] = str(options.work / "cache")
    about = machine()
    index = put_together(options.folders, options.parts, options.disturb, options.work)
    data = options.work / "data"
    if not options.folders and not any(word.startswith("backbone=") for word in options.set):
        options.set.append("backbone=efficientnet_lite0")
    defaults = {"global-bank-size": "10000", "num-stations": str(min(5, len(index.categories)))}
    for key, value in defaults.items():
        if not any(word.startswith(f"{key}=") for word in options.set):
            options.set.append(f"{key}={value}")
    runs = []
    for case in cases(options):
        told = do(case, data, index, options)
        figures = "; ".join(
            f"{name} {own['image_auroc']:.3f} / {own['auc_spro']:.3f}"
            for name, own in told["parts"].items()
        )
        print(f"{case.name}: {told['cpu_seconds']:.0f} s of processors; {figures}", flush=True)
        runs.append(told)
    space = runs[0]["feature_space"]
    for told in runs:  # they hold paths, and the same facts again
        del told["words"], told["feature_space"]
    peer, peer_runs = compare(options, data, index, space)
    print(f"anomalib: {peer['name'] or peer['missing']}")
    result = {
        "machine": about,
        "name": options.name,
        "drawn": bool(index.synthetic),
        "disturbed": options.disturb,
        "parts": counts(index),
        "settings": [without_folder(word) for word in options.set],
        "seeds": options.seeds,
        "in_process": options.in_process,
        "network": {key: space[key] for key in ("backbone", "layers", "image_size", "weights")},
        "runs": runs + peer_runs,
        "peer": peer,
    }
    finish(result, out)
    if out.parent == FOLDER / "results":
        write_pages()


def without_folder(word: str) -> str:
    """A setting without the folders of this machine."""
    key, _, value = word.partition("=")
    return f"{key}={Path(value).name}" if key == "weights" else word


if __name__ == "__main__":
    main()
