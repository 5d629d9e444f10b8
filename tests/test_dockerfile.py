"""The image's build stops where it would get another torch than it was asked for."""

from __future__ import annotations

import os
import re
import subprocess
import venv
from pathlib import Path

import pytest

DOCKERFILE = Path(__file__).parents[1] / "deploy" / "Dockerfile"
CPU = "https://download.pytorch.org/whl/cpu"
CUDA = "https://download.pytorch.org/whl/cu130"


def instruction(sign: str) -> str:
    """The one RUN of the Dockerfile with these words in it, as the shell gets it."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text()).replace("\\\n", "")
    (found,) = [line for line in text.splitlines() if line.startswith("RUN ") and sign in line]
    return found.removeprefix("RUN ")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    return folder


@pytest.mark.parametrize("index", [CPU, CPU + "/", "http://mirror.plant/cpu"])
def test_cudas_build_from_the_cpus_index_is_one_clear_line(environment: Path, index: str) -> None:
    code, said = check(environment, "cuda: Optional[str] = '13.0'", index)
    assert code == 1
    (line,) = said.splitlines()
    assert line == (
        f"torch 2.13.0 came for CUDA 13.0, but TORCH_INDEX={index} is the CPU's: it was not "
        "reached or lacks this version; mend that, or name an index of CUDA's"
    )


@pytest.mark.parametrize(
    ("cuda", "index"), [("None", CPU), ("'13.0'", CUDA), ("None", CUDA), ("'13.0'", CUDA + "/")]
)
def test_what_was_asked_for_goes_on(environment: Path, cuda: str, index: str) -> None:
    assert check(environment, f"cuda: Optional[str] = {cuda}", index) == (0, "")


def test_a_torch_that_does_not_say_stops_it_too(environment: Path) -> None:
    code, said = check(environment, "", CPU)
    assert code != 0
    assert "KeyError" in said


def check(environment: Path, line: str, index: str) -> tuple[int, str]:
    """Exit code and errors of the Dockerfile's check, with a torch that says this of itself."""
    (packages,) = environment.glob("lib/*/site-packages")
    (packages / "torch").mkdir(exist_ok=True)
    (packages / "torch" / "version.py").write_text(f"from typing import Optional\n{line}\n")
    done = subprocess.run(
        ["sh", "-c", instruction("torch/version.py").replace("/opt/venv", str(environment))],
        env={**os.environ, "TORCH_INDEX": index, "TORCH_VERSION": "2.13.0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr
