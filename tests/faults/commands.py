"""How the factory calls each command, and what it takes for the command's results."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cases import FAST, SMALL, Place

from common.patchcore.model_store import SavedModel

Results = dict[str, Any]
"""What must be equal, by the name of a category, image or file."""


def arguments(command: str, place: Place) -> list[str]:
    """The command line, as short as the command allows."""
    out = ["--out", place.out if place.out.endswith(("/", ".")) else f"{place.out}/{command}"]
    settings = [word for setting in (*FAST, *SMALL) for word in ("--set", setting)]
    fast = settings[: 2 * len(FAST)]
    data, run = str(place.data), str(place.run)
    words: dict[str, list[str]] = {
        "check": ["check", data],
        "explore": ["explore", data, *out],
        "split": ["split", data, *out, "--stations", "2", "--partition", "iid"],
        "baseline": ["baseline", data, *out, *settings],
        "federate": ["federate", data, *out, *settings],
        "evaluate": ["evaluate", run, data, *out, *fast],
        "inspect": ["inspect", run, str(place.photos), *out, *fast],
        "watch": ["inspect", run, "--watch", str(place.photos), "--idle", "0.1", *out, *fast],
        "add": ["add", run, str(place.parts), *out, *fast],
        "show": ["show", run, "--json"],
        "report": ["report", run, *out],
        "experiment": ["experiment", str(place.plan), *out],
    }
    return words[command] + place.options.get(command, [])


def results(command: str, place: Place, said: str) -> Results:
    """What the command computed; {} if it wrote nothing."""
    out = place.root / place.out.replace("~", str(place.root))
    folder = out if place.out.endswith(("/", ".")) else out / command
    # Unlike `Path.exists`, it is no error to it that a name is too long.
    if not (said if command in ("check", "show") else os.path.exists(folder)):
        return {}
    match command:
        case "check":
            # The suggestion names the memory that is free at that moment.
            said = re.sub(r"[\d.]+ GB here", "GB here", said)
            return {"said": said.replace(str(place.data), "data")}
        case "explore":
            return {path.name: path.read_text() for path in sorted(folder.glob("*.csv"))}
        case "split":
            files = sorted(path for path in folder.rglob("*.png"))
            return {str(path.relative_to(folder)): path.read_bytes() for path in files}
        case "baseline" | "federate" | "evaluate" | "experiment":
            return dict(_figures(folder)) | dict(_models(folder))
        case "inspect" | "watch":
            return dict(_verdicts(folder, place.photos))
        case "add":
            return dict(_models(folder))
        case "show":
            return {"said": said}
        case _:
            return {path.name: "there" for path in folder.glob("report.html")}


def _figures(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.rglob("metrics.json")):
        yield f"figures of {path.parent.name}", json.loads(path.read_text())


def _models(folder: Path) -> Iterator[tuple[str, Any]]:
    """Banks, thresholds and calibration of the models in a folder."""
    for path in sorted(folder.rglob("bank.safetensors")):
        saved = SavedModel.load(path.parent)
        for name in sorted(saved.banks):
            yield f"bank {name}", np.asarray(saved.banks[name]).tobytes()
        for name in sorted(saved.thresholds):
            yield f"threshold {name}", saved.thresholds[name]["value"]
            yield f"held out {name}", sorted(saved.calibration[name])


def _verdicts(folder: Path, photos: Path) -> Iterator[tuple[str, Any]]:
    path = folder / "results.csv"
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in sorted(rows, key=lambda row: row["path"]):
        if row["score"]:
            name = row["path"].removeprefix(f"{photos}/")
            yield name, [float(row["score"]), float(row["threshold"]), row["anomalous"] == "true"]
