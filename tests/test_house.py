"""The house: every import runs downwards, and none in a circle, not even one for types alone."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APPS = ("client_app", "server_app")
#: Rooms of `common`, top floor first. On one floor arrows run from left to right.
FLOORS = (
    ("cli",),
    ("plant", "runs", "line", "check"),
    ("analysis", "inspection"),
    ("evaluation",),
    ("patchcore",),
    ("data",),
    ("hooks",),
    ("config", "paths", "system", "errors"),
)
ORDER = {room: place for place, room in enumerate(room for floor in FLOORS for room in floor)}
MOST_FILES = 20
#: Kernels are many small files by nature.
EXCEPTED = ("common/patchcore/exact",)


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    found = {}
    for top in (*APPS, "common"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ours that a file imports: anywhere in it, at run time or for types."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield str(node.module)


MODULES = modules()
ARROWS = {name: set(imports(path, MODULES)) - {name} for name, path in MODULES.items()}


def room(module: str) -> str:
    """`common.data.layout` is in the room `data`; the apps are rooms of their own."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "common" and rest else top


def test_no_circle() -> None:
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_arrows_run_down() -> None:
    wrong = []
    for module, found in ARROWS.items():
        for other in found:
            here, there = room(module), room(other)
            if here == there or "common" in (here, there):
                continue
            if here in APPS:
                down = there not in APPS
            elif there == "protocol":
                down = here == "plant"
            elif here == "protocol":
                down = there in ORDER and ORDER[there] >= ORDER["patchcore"]
            else:
                down = there in ORDER and ORDER[here] < ORDER[there]
            if not down:
                wrong.append(f"{module} -> {other}")
    assert wrong == []


def test_every_room_is_on_the_plan() -> None:
    rooms = {room(module) for module in MODULES} - {"common", *APPS}
    assert rooms <= {*ORDER, "protocol"}
    loose = {path.name for path in (ROOT / "common").glob("*.py")}
    assert loose == {"__init__.py", "config.py", "errors.py", "paths.py"}


def test_mathematics_knows_no_flower() -> None:
    """flwr is imported by the apps, by `protocol`, and by `plant` for Flower's own client."""
    found = defaultdict(set)
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            if any(name.split(".")[0] == "flwr" for name in names):
                found[room(module)].add(module)
    assert set(found) <= {*APPS, "protocol", "plant"}, dict(found)


def test_no_folder_is_crowded() -> None:
    count: dict[str, int] = defaultdict(int)
    for path in MODULES.values():
        count[str(path.parent.relative_to(ROOT))] += 1
    crowded = {name: n for name, n in count.items() if n > MOST_FILES and name not in EXCEPTED}
    assert crowded == {}


def test_no_two_test_files_have_one_name() -> None:
    """Pytest knows a file by its name alone, and would leave the second one out with an error."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    twice = {name for name in names if names.count(name) > 1}
    assert twice <= {"conftest.py", "__init__.py"}
