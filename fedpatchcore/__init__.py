"""Federated PatchCore: the public names, each imported when it is first used.

`import fedpatchcore` alone takes no time and changes nothing. The first use of a name imports from
the packages `common` and `server_app` and puts their folder last on `sys.path`. Where a package of
that name is somebody else's, it stays in its place, and ImportError says which file it is.

Type checkers know the names. Where this was installed from a wheel they see the types behind them
if the folder `fedpatchcore/app` is on their own path (mypy's `mypy_path`).

Example: `from fedpatchcore import PatchCore, select_coreset`
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

from fedpatchcore._app import put_last

# The stub beside this file is the one list of names: `from HOME import NAME as NAME`.
_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_HOMES = {
    alias.name: node.module
    for node in _STUB.body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    put_last(home.partition(".")[0])
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
