"""Models gone wrong: damaged or foreign files, weights that are none, settings without effect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from cases import Case, Expected, Make, Place, every, refused, same, told
from inspection_cases import draw_part
from pictures import cut_short
from safetensors.numpy import load_file, save_file
from saved_models import write_facts

Facts = dict[str, Any]
USERS = "inspect watch evaluate add show"
"""Commands that load a model."""


def with_facts(change: Callable[[Facts], object]) -> Make:
    def make(place: Place) -> None:
        path = place.model / "model.json"
        facts = json.loads(path.read_text())
        change(facts)
        write_facts(path, facts)

    return make


def with_rows(change: Callable[[Any], Any]) -> Make:
    def make(place: Place) -> None:
        path = place.model / "bank.safetensors"
        save_file({name: change(rows) for name, rows in load_file(path).items()}, path)

    return make


def on_file(name: str, change: Callable[[Path], object]) -> Make:
    return lambda place: change(place.model / name)


def spoiled_rows(rows: Any) -> Any:
    rows = rows.copy()
    rows[0, 0] = np.nan
    return rows


DAMAGED: dict[str, tuple[Make, str]] = {
    "no bank": (on_file("bank.safetensors", Path.unlink), "bank.safetensors"),
    "no facts": (on_file("model.json", Path.unlink), "model.json"),
    "a bank cut short": (on_file("bank.safetensors", cut_short), "bank.safetensors"),
    "an empty bank": (
        on_file("bank.safetensors", lambda path: path.write_bytes(b"")),
        "bank.safetensors",
    ),
    "a text as bank": (
        on_file("bank.safetensors", lambda path: path.write_text("version https://git-lfs")),
        "bank.safetensors",
    ),
    "facts cut short": (on_file("model.json", cut_short), "model.json"),
    "facts as a list": (on_file("model.json", lambda path: path.write_text("[]")), "model.json"),
    "a later format": (with_facts(lambda facts: facts.update(format=99)), "format 99"),
    "a fact missing": (with_facts(lambda facts: facts.pop("feature_space")), "model.json"),
    "another bank's facts": (
        with_facts(lambda facts: facts.update(rows={"washer": 3})),
        "do not belong together",
    ),
    "more rows than there are": (
        with_facts(lambda facts: facts.update(rows={"plate": 99999})),
        "99999",
    ),
    "rows that are no numbers": (with_rows(spoiled_rows), "not finite"),
    "rows of half the width": (
        with_rows(lambda rows: np.ascontiguousarray(rows[:, ::2])),
        "bank.safetensors",
    ),
    "a threshold that is null": (
        with_facts(lambda facts: facts["thresholds"]["plate"].update(value=None)),
        "model.json",
    ),
    "a bank in a folder's place": (
        on_file("model.json", lambda path: (path.unlink(), path.mkdir())),
        "model.json",
    ),
}


def without(place: Place) -> None:
    shutil.rmtree(place.model)


def elsewhere(place: Place) -> None:
    place.run = place.photos


def with_option(command: str, *words: str) -> Make:
    return lambda place: place.options.setdefault(command, []).extend(words)


def weights(save: Callable[[Path], object], command: str = "baseline") -> Make:
    """Weights from a file."""

    def make(place: Place) -> None:
        save(place.root / "net.pth")
        place.set(command, f"weights={place.root / 'net.pth'}")

    return make


def network(name: str = "resnet18") -> dict[str, Any]:
    torch.manual_seed(3)
    return getattr(torchvision.models, name)(weights=None).state_dict()


def saved(state: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda path: torch.save(state(network()), path)


def spoiled_weights(state: dict[str, Any]) -> object:
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    return state


def defective(place: Place) -> None:
    draw_part(place.parts / "0.png", 202, defect=True)


def cases() -> Iterator[Case]:
    for kind, (make, word) in DAMAGED.items():
        yield Case(kind, make, every("inspect show", refused("run", word)))
    yield Case("no model", without, every(USERS, refused("run", "no model")))
    yield Case("a folder of something else", elsewhere, every(USERS, refused("photos", "no model")))


def wrong_weights(*words: str) -> dict[str, Expected]:
    return {"baseline": refused("net.pth", *words)}


CASES = [
    *cases(),
    Case(
        "a part that it does not know",
        with_option("inspect", "--category", "plat"),
        {"inspect": refused("plat", "plate")},
    ),
    Case(
        "a setting that adding does not use",
        lambda place: place.set("add", "seed=7"),
        {"add": refused("seed")},
    ),
    Case(
        "a threshold that is no number",
        with_option("inspect", "--threshold", "nan"),
        {"inspect": refused("threshold")},
    ),
    Case("a defect added as a good part", defective, {"add": refused("parts/0.png", "--yes")}),
    Case("weights: a text", weights(lambda path: path.write_text("todo")), wrong_weights()),
    Case("weights: empty", weights(lambda path: path.write_bytes(b"")), wrong_weights()),
    Case("weights: a folder", weights(Path.mkdir), wrong_weights()),
    Case("weights: none there", weights(lambda path: None), wrong_weights()),
    Case("weights: a list", weights(saved(lambda state: [1, 2])), wrong_weights()),
    Case("weights: not finite", weights(saved(spoiled_weights)), wrong_weights("layer2.0.conv1")),
    Case(
        "weights: of another network",
        weights(lambda path: torch.save(network("resnet50"), path)),
        wrong_weights("resnet18"),
    ),
    Case(
        "weights: without the second layer",
        weights(saved(lambda state: {n: t for n, t in state.items() if "layer2" not in n})),
        wrong_weights("layer2"),
    ),
    Case(
        "what it judged lies beside it",
        lambda place: (place.run / "notes.txt").write_text("keep"),
        every("inspect show report", same),
    ),
    Case(
        "run.json cut short",
        lambda place: cut_short(place.run / "run.json"),
        {"report": refused("run.json"), "inspect": same},
    ),
    Case(
        "metrics cut short",
        lambda place: cut_short(next(place.run.rglob("metrics.json"))),
        {"report": refused("metrics.json"), "inspect": same},
    ),
    Case(
        "no calibration",
        with_facts(lambda facts: facts.update(thresholds={}, calibration={})),
        {"inspect": refused("no threshold", "--threshold"), "evaluate": told("threshold")},
    ),
]
