"""Where the app's folder is, and how its packages are imported without taking a name from others.

Flower ships the packages `common`, `client_app` and `server_app` to stations as they lie in one
folder. A wheel carries that folder as data, so that no such name lies open in site-packages; in a
checkout it is the checkout.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
FOLDER: Final = _HERE / "app" if (_HERE / "app").is_dir() else _HERE.parent


@cache
def public_names() -> dict[str, str]:
    """The module of every public name, from the stub: `from HOME import NAME as NAME`."""
    import ast  # of no use to the command

    stub = ast.parse((_HERE / "__init__.pyi").read_text(encoding="utf-8"))
    return {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def put_first() -> None:
    """Let the app's packages go before all others of their names: for a process of our own."""
    sys.path.insert(0, str(FOLDER))
    _check("common")


def put_last(package: str) -> None:
    """Make one of the app's packages importable in somebody else's process.

    Raises
    ------
    ImportError
        If `package` is the name of something else there, imported already or yet to be.
    """
    _check(package)
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))


def _check(package: str) -> None:
    other = _origin(package)
    if other is not None and other.resolve() != (FOLDER / package / "__init__.py").resolve():
        raise ImportError(
            f"{other}: another package named `{package}`, which fedpatchcore has, too, and one "
            "process cannot hold both; keep that one off this process' sys.path, or run "
            "fedpatchcore by its command, in a process of its own"
        )


def _origin(package: str) -> Path | None:
    """What `import package` gives or gave; None if nothing, or a mere folder, has the name."""
    if module := sys.modules.get(package):
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        return Path(next(filter(None, places), "no file"))
    spec = find_spec(package)
    if spec is None:
        return None
    if spec.origin:
        return Path(spec.origin)
    # Without `__init__.py`: any folder on the way, such as one with images, is found as a package.
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return next((path for folder in folders for path in folder.glob("**/*.py")), None)
