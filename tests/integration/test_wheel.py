"""The wheel, installed where there is no checkout: its files, its commands, its public names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

pytestmark = pytest.mark.flower

ROOT = Path(__file__).parents[2]
SMALL = {
    "backbone": "resnet18",
    "weights": "random",
    "image-size": 64,
    "global-bank-size": 200,
    "num-stations": 2,
    "device": "cpu",
    "num-workers": 0,
}
SET = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


def ask(*command: str | Path, cwd: Path, **variables: str) -> str:
    """What a command printed; it must end well."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # `make setup` installs the build's own requirement, so that nothing is downloaded here.
    isolation = ["--no-build-isolation"] if find_spec("hatchling") else []
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolation]
    ask(*pip, "--wheel-dir", folder, ROOT, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with this one's other packages instead of a download."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index"]
    ask(*pip, "--no-deps", wheel, cwd=folder)
    (packages,) = folder.glob("lib/*/site-packages")
    # A folder named in a `.pth` file has its own `.pth` files left unread: no editable checkout.
    shared = [path for path in sys.path if path.endswith("-packages")]
    (packages / "shared.pth").write_text("\n".join(shared))
    for script in distribution("flwr").entry_points.select(group="console_scripts"):
        path = folder / "bin" / script.name
        path.write_text(f"#!{python}\nfrom {script.module} import {script.attr}\n{script.attr}()\n")
        path.chmod(0o755)
    return folder


def test_its_files_lie_in_one_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"fedpatchcore"}
    for name in ("py.typed", "__init__.pyi", "app/pyproject.toml", "app/server_app/app.py"):
        assert f"fedpatchcore/{name}" in names
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]
    assert wheel.stat().st_size < 2**20


def test_flower_ships_the_same_app_from_it_as_from_the_checkout(installed: Path) -> None:
    (app,) = installed.glob("lib/*/site-packages/fedpatchcore/app")
    assert build_fab_from_disk(app) == build_fab_from_disk(ROOT)


def test_its_names_can_be_imported_and_nothing_else_lies_open(installed: Path) -> None:
    code = """
import importlib.util as util, fedpatchcore
print([name for name in ("common", "client_app", "server_app") if util.find_spec(name)])
print(fedpatchcore.select_coreset.__name__, *fedpatchcore.AGGREGATIONS, fedpatchcore.__version__)
print(fedpatchcore.__file__)
"""
    opened, names, file = ask(installed / "bin/python", "-c", code, cwd=installed).splitlines()
    assert opened == "[]"
    assert names.split()[0] == "select_coreset"
    assert "federated_coreset" in names.split()
    assert names.split()[-1] == distribution("fedpatchcore").version
    assert Path(file).is_relative_to(installed)


@pytest.mark.usefixtures("one_core")
def test_its_commands_run_beside_other_packages_of_those_names(
    installed: Path, tmp_path: Path
) -> None:
    """On the path and in the current folder: whoever imports one of them leaves a trace."""
    trace = tmp_path / "trace.txt"
    for name in ("common", "client_app", "server_app"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            f"import sys\nopen({str(trace)!r}, 'a').write(repr(sys.argv))\nraise OSError('other')\n"
        )
    variables = {"PYTHONPATH": str(tmp_path), "FEDPATCHCORE_CACHE": str(tmp_path / "cache")}

    def command(*words: str) -> str:
        return ask(installed / "bin/fedpatchcore", *words, cwd=tmp_path, **variables)

    assert command("--version").split() == ["fedpatchcore", distribution("fedpatchcore").version]
    command("synth", "data", "--images", "4", "--size", "32")
    for category in (tmp_path / "data").glob("*[!w]/"):  # the two screws are enough
        shutil.rmtree(category)
    command("baseline", "data", "--out", "centralized", *SET)
    command("federate", "data", "--partition", "iid", "--out", "iid", *SET)
    for name in ("centralized", "iid"):
        run = json.loads((tmp_path / name / "run.json").read_text(encoding="utf-8"))
        assert run["status"] == "completed"
    assert [station["status"] for station in run["stations"]] == ["used", "used"]
    images = "data/tank_screw/test"
    command("inspect", "iid", images, "--category", "tank_screw", "--out", "judged")
    judged = json.loads((tmp_path / "judged" / "results.json").read_text(encoding="utf-8"))
    assert len(judged) == len(list((tmp_path / images).rglob("*.png"))) > 0
    assert not trace.exists(), trace.read_text()
