"""Plants in which nobody lies: over partitions, numbers of stations and seeds."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._attacked_run import attacked_run
from benchmarks._attacks import Attack
from benchmarks._trust_data import Parts, describe, side_by_side
from common.config import Settings

STATIONS = (3, 5, 10)
PARTITIONS = ("iid", "category", "dirichlet")
#: Images of each part, and test images of each kind: a verdict looks at the others' good ones.
TRAIN, TEST, SIDE = 48, 3, 128
BANK = 500
TOGETHER = "all together"


def honest_plants(
    folders: dict[str, Path], settings: dict[str, Settings], work: Path, plants: int
) -> dict[str, Any]:
    """Run them all and tell who was suspected.

    Parameters
    ----------
    folders : dict of name to Path
        Of the parts that are on this machine.
    settings : dict of name to Settings
        Of the drawn parts' network and of the real ones'.
    work : Path
        Runs that are there are not repeated.
    plants : int
        About so many: a whole number of seeds for each combination.

    Returns
    -------
    dict
        `parts` by folder; `plants`, one each: `data`, `partition`, `stations`, `seed`, `verdicts`,
        `sentences`; `held_out` images and how many of them were `flagged`.
    """
    there = {
        name: side_by_side(_parts_of(folder), work / f"data-honest-{name}", SIDE, TRAIN, TEST)
        for name, folder in folders.items()
    }
    if len(there) > 1:
        # So that a partition by category has something to deal.
        found = {n: p for folder in there.values() for n, p in _parts_of(folder).items()}
        there[TOGETHER] = side_by_side(found, work / "data-together", SIDE, TRAIN, TEST)
    combinations = [
        (name, partition, stations)
        for name, partition, stations in itertools.product(there, PARTITIONS, STATIONS)
        # One part alone has no categories to deal out.
        if partition != "category" or name in ("drawn", TOGETHER)
    ]
    seeds, told = -(-plants // len(combinations)), []
    for seed in range(1, seeds + 1):
        for name, partition, stations in combinations:
            told.append(_plant(there[name], settings, name, partition, stations, seed, work))
    return {
        "parts": {name: describe(Parts(there[name], Settings()).index) for name in there},
        "train": TRAIN,
        "bank": BANK,
        "plants": told,
    }


def _parts_of(folder: Path) -> dict[str, Path]:
    return {part.name: part for part in sorted(folder.iterdir()) if part.is_dir()}


def _plant(
    folder: Path,
    settings: dict[str, Settings],
    name: str,
    partition: str,
    stations: int,
    seed: int,
    work: Path,
) -> dict[str, Any]:
    out = work / f"honest-{name.replace(' ', '-')}-{partition}-{stations}-{seed}"
    note = Path(f"{out}.json")
    if note.is_file():
        known: dict[str, Any] = json.loads(note.read_text())
    else:
        real = next((one for one in settings if one != "drawn"), "drawn")
        network = settings[real if name == TOGETHER else name]
        chosen = replace(
            network,
            partition=partition,
            num_stations=stations,
            seed=seed,
            global_bank_size=BANK,
            calibration_fraction=0.2,
        )
        known = attacked_run(Parts(folder, chosen), Attack("honest"), out)
        note.write_text(json.dumps(known))
    suspected = {who: v for who, v in known.get("verdicts", {}).items() if v != "fits"}
    print(f"{out.name}: {known['error'] or suspected or 'nobody suspected'}", flush=True)
    return {
        "data": name,
        "partition": partition,
        "stations": stations,
        "seed": seed,
        **{key: known.get(key) for key in ("error", "verdicts", "sentences", "refused")},
        "held_out": known.get("held_out", 0),
        "flagged": sum(known.get("flagged", {}).values()),
    }
