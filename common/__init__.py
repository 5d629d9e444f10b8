"""What both sides of the federation share; nothing in here but `records` knows Flower."""


def __getattr__(name: str) -> str:
    """Read `__version__` when it is asked for: `pyproject.toml` alone says it.

    The file lies beside this folder in a checkout and in the app that Flower ships; where it does
    not, the installed distribution was built from it.
    """
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import tomllib
    from importlib import metadata
    from pathlib import Path

    project = Path(__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        return metadata.version("fedpatchcore")
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
