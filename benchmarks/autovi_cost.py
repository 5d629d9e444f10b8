"""What `experiments/autovi.yaml` costs, computed from measured seconds per image.

    python benchmarks/autovi_cost.py

Nothing is run or measured here: AutoVI's counts and sizes, the zips' bytes, the runs of the plan,
and the seconds per image, search and selection of `results/device.json` give hours for the machine
of that file, on its GPU and on its 16 cores. Every image goes through the network once a run. Not
in it: reading images, filtering and evaluating maps, Flower's start, and what the cache saves.
"""

from __future__ import annotations

import json
from pathlib import Path

from common.config import Settings
from common.data.fetch.autovi import ARCHIVES
from common.data.fetch.categories import AT_A_TIME
from common.data.synthetic.catalog import CATEGORIES
from common.runs.experiment_plan import read_plan

HERE = Path(__file__).parent
SIDES = {False: "400x400", True: "1000x750"}
PATCHES = {False: 50 * 50, True: 94 * 125}
"""WideResNet-50-2's layer 2 on images of their own size."""


def main() -> None:
    measured = json.loads((HERE / "results/device.json").read_text())
    seconds = {case["what"]: case for case in measured["cases"]}
    images = {False: [0, 0], True: [0, 0]}
    for category in CATEGORIES:
        for name, count in category.counts(0, like_autovi=True).items():
            images[category.large][not name.startswith("train")] += count
    trained = sum(PATCHES[large] * train for large, (train, _) in images.items())
    tested = sum(PATCHES[large] * test for large, (_, test) in images.items())
    runs = len(read_plan(HERE.parent / "experiments/autovi.yaml").runs(Settings()))
    for large, (train, test) in images.items():
        print(f"{SIDES[large]}: {train} training and {test} test images")
    for where in ("device", "processor"):
        work = sum(
            sum(images[large]) * seconds[f"one image of {side}, float32, batch {batch}"][where]
            for large, side, batch in ((False, SIDES[False], 32), (True, SIDES[True], 8))
        )
        work += tested / 25_000 * seconds["search 25,000 in 10,000 of 1536"][where]
        work += trained / 1_000_000 * seconds["select 10,000 of 1,000,000"][where]
        name = measured["device"] if where == "device" else "16 cores of its host"
        print(f"{name}: {work / 60:.1f} minutes a run, {runs} runs {work * runs / 3600:.1f} hours")
    sizes = sorted(archive.size for archive in ARCHIVES.values())
    print(f"zips: {sum(sizes) / 1e9:.2f} GB; at most {sum(sizes[-AT_A_TIME:]) / 1e9:.2f} GB beside")
    print(f"training features: {trained * 1536 * 4 / 1e9:.0f} GB in float32")


if __name__ == "__main__":
    main()
