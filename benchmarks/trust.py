"""What one station's lie costs the others, and how often an honest one is suspected.

    python benchmarks/trust.py [drawn] [bottle] [magnetic_tile] [honest] [promise]
        [--stations 3 5 10] [--work FOLDER] [--draws N] [--plants N]

Without a word all of it, as far as the images are there: drawn parts always, real ones in the
folder that FEDPATCHCORE_TEST_DATA names (`parts/bottle`, `more_parts/magnetic_tile`,
`weights/resnet18*.pth`). Each part of it writes `benchmarks/results/trust-NAME.json`, and the page
is `benchmarks/TRUST.md`.

drawn, bottle, magnetic_tile
    Every attack of `_attacks.py` on an IID federation of 3, 5 and 10 stations, beside the honest
    run. Where a station is put under quarantine the run is done again with
    `on-suspicion=exclude`: of five stations always, of others where the honest ones' figures are
    not those of the honest run.
honest
    Plants in which nobody lies, over partitions, numbers of stations and seeds: who is suspected
    all the same.
promise
    The merged threshold's promise, by drawing.

Runs are of the real ServerApp and ClientApp, in this process (`_in_process.py`), and share one
cache of features for each network. They lie in `--work`; those that are there are not repeated:
another `--work`, or none, for another version of the code.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks._attacked_run import attacked_run
from benchmarks._attacks import ATTACKS, Attack
from benchmarks._bench import finish, machine
from benchmarks._sections_trust import near
from benchmarks._trust_data import Parts, describe, side_by_side
from benchmarks._trust_honest import honest_plants
from benchmarks._trust_promise import DRAWS, TARGET, promise
from benchmarks.render import write_pages
from common.config import Settings
from common.data.synthetic.write import write_synthetic

FOLDER = Path(__file__).resolve().parent
STATIONS = (3, 5, 10)
#: Part of a folder of real images, and where it lies there.
REAL = {"bottle": "parts/bottle", "magnetic_tile": "more_parts/magnetic_tile"}
DRAWN = {"images": 60, "size": 96}
SIDE = 160  # pixels that real pictures are made smaller to
TEST = {"drawn": 16, "bottle": 16, "magnetic_tile": 12}  # images of each kind, at most
DRAWN_PARTS = ("engine_wiring", "pipe_clip")
HONEST, HONEST_ROUNDS = Attack("honest"), Attack("honest, three rounds", rounds=3)
EXCLUDE = "on-suspicion=exclude"


def folder_of(name: str, work: Path) -> Path | None:
    """The data folder of a subject; None where its images are not on this machine."""
    if name != "drawn":
        real = test_data() / REAL[name] if test_data() is not None else None
        if real is None or not real.is_dir() or not weights():
            return None
        return side_by_side({name: real}, work / f"data-{name}", side=SIDE, test=TEST[name])
    drawn = work / "drawings"
    if not drawn.is_dir():
        write_synthetic(drawn, **DRAWN)
    found = {part: drawn / part for part in DRAWN_PARTS}
    return side_by_side(found, work / "data-drawn", test=TEST[name])


def test_data() -> Path | None:
    """The folder of real images, if it was named."""
    named = os.environ.get("FEDPATCHCORE_TEST_DATA")
    return Path(named) if named else None


def weights() -> str:
    """ResNet-18's weights; "" where they are not on this machine."""
    folder = test_data()
    found = sorted((folder / "weights").glob("resnet18*.pth")) if folder else []
    return str(found[0]) if found else ""


def settings_of(name: str, stations: int) -> Settings:
    """Small enough that a run takes seconds, and enough held out for three to ten stations."""
    common: dict[str, Any] = {
        "num_stations": stations,
        "partition": "iid",
        "calibration_fraction": 0.34,
        "device": "cpu",
        "num_workers": 1,
    }
    if name == "drawn":
        return Settings(**common, backbone="efficientnet_lite0", global_bank_size=600)
    return Settings(
        **common,
        backbone="resnet18",
        weights=weights(),
        global_bank_size=600,
    )


def once(parts: Parts, attack: Attack, out: Path, changes: str = "") -> dict[str, Any]:
    """A run, or what it was found to be when it was done before."""
    note = Path(f"{out}.json")
    if note.is_file():
        known: dict[str, Any] = json.loads(note.read_text())
        return known
    started = time.perf_counter()
    told = attacked_run(parts, attack, out, changes=changes)
    told["wall_seconds"] = time.perf_counter() - started
    note.write_text(json.dumps(told))
    return told


def attacks(name: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """All attacks on one folder of parts; None without its images."""
    folder = folder_of(name, options.work)
    if folder is None:
        print(f"{name}: its images or ResNet-18's weights are not here; not run")
        return None
    runs, can_exclude = [], "on-suspicion" in Settings().to_run_config()
    parts = None
    for stations in options.stations:
        parts = Parts(folder, settings_of(name, stations))
        honest: dict[int, dict[str, Any]] = {}
        for number, attack in enumerate((HONEST, HONEST_ROUNDS, *ATTACKS)):
            if attack.bad > 1 and stations < 5:
                continue  # two of three are the plant
            out = options.work / f"{name}-{stations}-{number}"
            told = once(parts, attack, out)
            told |= {"stations": stations, "rounds": attack.rounds, "excluded": None}
            if attack in (HONEST, HONEST_ROUNDS):
                honest[attack.rounds] = told
            suspected = "quarantine" in told.get("verdicts", {}).values()
            # Always with five stations, and wherever it is needed.
            asked = stations == 5 or not near(told, honest[attack.rounds])
            if can_exclude and suspected and asked:
                told["excluded"] = once(parts, attack, Path(f"{out}-exclude"), EXCLUDE)
            print(f"{name}, {stations} stations, {attack.name}: {summary(told)}", flush=True)
            runs.append(told)
    assert parts is not None
    for told in runs:
        for one in (told, told["excluded"] or {}):
            one.pop("influence", None)
    shown = parts.settings.to_run_config()
    keys = ("backbone", "image-size", "global-bank-size", "calibration-fraction")
    return {
        "parts": describe(parts.index),
        "settings": {key: shown[key] for key in keys},
        "stations": options.stations,
        "can_exclude": can_exclude,
        "runs": runs,
    }


def summary(told: dict[str, Any]) -> str:
    """One line for whoever waits."""
    if told["error"]:
        return f"ended: {told['error']}"
    count = min(told["figures"])
    figures = told["figures"][count]
    named = {name: verdict for name, verdict in told["verdicts"].items() if verdict != "fits"}
    return (
        f"found {figures['found']} of {figures['defective']}, false alarms "
        f"{figures['false_alarms']} of {figures['good']}, captured {figures['captured']} of "
        f"{told['rows']}, {named or 'nobody named'}, {told['cpu_seconds']:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = ["drawn", *REAL, "honest", "promise"]
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(every))
    parser.add_argument("--stations", nargs="+", type=int, default=list(STATIONS))
    parser.add_argument("--work", type=Path, default=Path("outputs/trust"), help="where runs lie")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of each case of the promise")
    parser.add_argument("--plants", type=int, default=216, help="honest plants, about")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    # One cache for all of them, and no other's.
    os.environ.pop("FEDPATCHCORE_CACHE", None)
    os.environ["XDG_CACHE_HOME"] = str(options.work / "cache")
    for name in options.subjects or every:
        about, started = machine(), time.perf_counter()
        if name == "promise":
            found: dict[str, Any] | None = {
                "target": TARGET,
                "draws": options.draws,
                "cases": promise(options.draws),
            }
        elif name == "honest":
            folders = {one: folder_of(one, options.work) for one in ("drawn", *REAL)}
            there = {one: folder for one, folder in folders.items() if folder is not None}
            networks = {one: settings_of(one, 3) for one in there}
            found = honest_plants(there, networks, options.work, options.plants)
        else:
            found = attacks(name, options)
        if found is not None:
            took = time.perf_counter() - started
            result = {"machine": about, "name": name, "wall_seconds": took, **found}
            finish(result, FOLDER / "results" / f"trust-{name}.json")
    write_pages()


if __name__ == "__main__":
    main()
