"""Taking private names away from real libraries, as a newer version of them would."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import pytest

from common.hooks.lookup import _import
from common.hooks.table import TABLE, Hook

#: Every way in which an entry of the table can be missing: itself, or something that it needs.
LOSSES = [
    pytest.param(hook, lost, id=f"{hook.name}.{lost}" if lost else hook.name)
    for hook in TABLE
    for lost in ("", *hook.needs)
]


def losses(*libraries: str) -> list[Any]:
    """Those of some libraries."""
    return [loss for loss in LOSSES if loss.values[0].library in libraries]


def remove(monkeypatch: pytest.MonkeyPatch, hook: Hook, lost: str = "") -> None:
    """Take an entry away from its library, or something that the entry needs."""
    path = f"{hook.name}.{lost}" if lost else hook.name
    place, _, name = path.rpartition(".")
    owner = _import(place)
    if place.startswith("torch.ops."):
        remove_operator(monkeypatch, owner, name)
        return
    # Of a class it may be inherited.
    holders = [kind for kind in getattr(owner, "__mro__", [owner]) if name in vars(kind)]
    assert holders, f"{path}: nothing to remove"
    for holder in holders:
        monkeypatch.delattr(holder, name)


def remove_operator(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Torch makes an attribute of an operator when it is first asked for: ask in vain."""
    kind = type(owner)
    known = kind.__getattr__

    def without(self: Any, wanted: str) -> Any:
        if self is owner and wanted == name:
            raise AttributeError(f"{owner.__name__!r} has no operator {name!r}")
        return known(self, wanted)

    getattr(owner, name)
    monkeypatch.setattr(kind, "__getattr__", without)
    monkeypatch.delattr(owner, name)


def forget(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Have the next import of a module of ours execute it again."""
    import_module(module)
    monkeypatch.delitem(sys.modules, module)
