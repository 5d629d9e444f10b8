"""Federated PatchCore: the public names, each imported when it is first used.

`import fedpatchcore` alone takes no time and changes nothing. The first use of a name imports from
the packages `common` and `server_app` and puts their folder last on `sys.path`. Where a package of
that name is somebody else's, it stays in its place, and ImportError says which file it is.

Type checkers know the names. Where this was installed from a wheel they see the types behind them
if the folder `fedpatchcore/app` is on their own path (mypy's `mypy_path`).

Example: `from fedpatchcore import PatchCore, select_coreset`
"""

TYPE_CHECKING = False  # `typing` takes longer than all of this file, and the command waits for it
if TYPE_CHECKING:
    from typing import Any


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    from fedpatchcore._app import public_names, put_last

    homes = public_names()
    if name == "__all__":
        return sorted(homes)
    home = homes.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    put_last(home.partition(".")[0])
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    from fedpatchcore._app import public_names

    return sorted({*globals(), "__all__", *public_names()})
