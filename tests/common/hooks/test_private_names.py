"""No private name of another library stands in the sources, but in the table."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from common.hooks import table

ROOT = Path(__file__).parents[3]
SOURCES = [path for top in ("common", "client_app", "server_app") for path in
           sorted((ROOT / top).rglob("*.py"))]  # fmt: skip
TABLE = ROOT / "common" / "hooks" / "table.py"
#: What the makers export and document; everything else of these libraries is private.
PUBLIC = {
    "flwr": ("app", "clientapp", "serverapp", "serverapp.strategy", "common"),
    "numba": ("", "types", "extending"),
    "llvmlite": ("ir",),
}
#: Exported by nobody in `__all__`, and documented.
NO_LIST = ("numba", "llvmlite")
REACHING = ("getattr", "setattr", "hasattr", "delattr")


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def own_names(sources: list[str]) -> set[str]:
    """Names with an underscore that our own code defines: as functions, fields, variables."""
    found = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("self", "cls")
            ):
                found.add(node.attr)
    return {name for name in found if is_private(name)}


def is_foreign_private(dotted: str) -> bool:
    """Whether a dotted name, from its top module on, is another library's own affair."""
    top, *rest = dotted.split(".")
    if top in ("common", "client_app", "server_app"):
        return False
    if any(map(is_private, rest)) or dotted.startswith("torch.ops"):
        return True
    if top not in PUBLIC:
        return False
    for public in sorted(PUBLIC[top], key=len, reverse=True):
        inside = public.split(".") if public else []
        if rest[: len(inside)] == inside:
            if top in NO_LIST:
                return not public and bool(rest) and rest[0] == "core"
            names = import_module(".".join([top, *inside])).__all__
            return len(rest) > len(inside) and rest[len(inside)] not in names
    return True


def chain(node: ast.expr) -> list[str]:
    """`a.b.c` as names; empty if it begins with something else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [*names, node.id][::-1] if isinstance(node, ast.Name) else []


def private_names(source: str, own: set[str]) -> Iterator[str]:
    """Every private name of another library that a source spells out."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                modules[alias.asname or top] = alias.name if alias.asname else top
                yield from filter(is_foreign_private, [alias.name])
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = dotted
                yield from filter(is_foreign_private, [dotted])
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, *rest = chain(node) or [""]
            dotted = ".".join([modules.get(first, ""), *rest])
            if first in modules and dotted.partition(".")[0] in sys.stdlib_module_names:
                continue  # `os._exit` is documented
            if first in modules and is_foreign_private(dotted):
                yield dotted
            elif is_private(node.attr) and node.attr not in own:
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
            for text in (text for text in texts if isinstance(text, str)):
                if (name in REACHING and is_private(text) and text not in own) or (
                    name in ("import_module", "__import__") and is_foreign_private(text)
                ):
                    yield text


TEXTS = {path: path.read_text(encoding="utf-8") for path in SOURCES}
OWN = own_names(list(TEXTS.values()))


def test_no_source_spells_a_private_name_out() -> None:
    found = {
        str(path.relative_to(ROOT)): names
        for path, text in TEXTS.items()
        if path != TABLE and (names := sorted(set(private_names(text, OWN))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.ops.mkldnn.any_operator(1)",
        "from torch import ops",
        "import torch\ntorch.cpu._is_amx_tile_supported()",
        "import torch._dynamo",
        "from flwr.superlink.grid import HttpGrid",
        "import flwr.proto.control_pb2",
        "from flwr.common import serde",
        "from flwr.app.message import make_message",
        "grid._retry_invoker",
        "getattr(grid, '_retry_invoker', None)",
        "from numba.core import cgutils",
        "import numba as nb\nnb.core.cgutils",
        "import_module('flwr.supercore')",
    ],
)
def test_the_rule_finds(source: str) -> None:
    assert list(private_names(source, OWN))


@pytest.mark.parametrize(
    "source",
    [
        "from flwr.app import Message\nMessage.content",
        "from flwr.serverapp.strategy import Strategy",
        "from flwr.common import log\nlog(1, '')",
        "import torch\ntorch.backends.mkldnn.is_available()",
        "from numba import njit, types\nfrom numba.extending import intrinsic",
        "self._started",
    ],
)
def test_the_rule_lets_pass(source: str) -> None:
    assert list(private_names(source, OWN)) == []


def test_every_entry_is_looked_up_somewhere() -> None:
    entries = {name for name, value in vars(table).items() if isinstance(value, table.Hook)}
    used = set()
    for path, text in TEXTS.items():
        if path != TABLE:
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Name):
                    used.add(node.id)
                elif isinstance(node, ast.Attribute):
                    used.add(node.attr)
    assert entries - used == set()
