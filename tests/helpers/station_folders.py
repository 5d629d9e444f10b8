"""Folders of real stations, laid out from the synthetic data set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def give(tiny: Path, station: Path, category: str, *folders: str) -> None:
    """Lay some folders of a category out at a station."""
    for folder in folders:
        shutil.copytree(tiny / category / folder, station / category / folder)
    config = tiny / category / "defects_config.json"
    shutil.copy(config, station / category / config.name)
    shutil.copy(tiny / "synthetic.json", station)


def real_nodes(plant: Path, **weights: Path) -> dict[int, dict[str, Any]]:
    nodes = {}
    for number, folder in enumerate(sorted(plant.iterdir())):
        nodes[number + 5] = {"station": folder.name, "data-root": str(folder)}
        if folder.name in weights:
            nodes[number + 5]["weights"] = str(weights[folder.name])
    return nodes


EVERYTHING = ("train", "test", "ground_truth")
