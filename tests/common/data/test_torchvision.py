"""torchvision is imported beside a torch that it was not built for, and any other fault is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# As torchvision's own import: it describes an operator that its compiled part should have brought.
OTHER_BUILD = """
import torch
import torchvision.extension
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
"""


def a_torchvision(folder: Path, first_lines: str) -> Path:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(first_lines)
    (package / "extension.py").write_text("")
    (package / "transforms.py").write_text("")
    return folder


FILES = """
print(torchvision.__file__, torchvision.nms.__name__, transforms.__name__)
print(torchvision.extension is sys.modules["torchvision.extension"])
"""
COMPILER = """
print(any(name.startswith("torch._dynamo") for name in sys.modules))
print(torchvision.wanted.__name__)
import torch._dynamo.utils
print(callable(torch._dynamo.optimize), torch._dynamo.utils.counters is not None)
"""


def imported_beside(folder: Path, then: str = FILES) -> subprocess.CompletedProcess[str]:
    code = f"import sys\nfrom common.data._torchvision import torchvision, transforms\n{then}"
    root = Path(__file__).resolve().parents[3]
    paths = os.pathsep.join([str(folder), str(root)])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_torchvision_of_another_build_is_imported(tmp_path: Path) -> None:
    folder = a_torchvision(tmp_path, OTHER_BUILD)

    done = imported_beside(folder)

    assert done.returncode == 0, done.stderr
    file = folder / "torchvision" / "__init__.py"
    assert done.stdout.splitlines() == [f"{file} nms torchvision.transforms", "True"]


def test_any_other_fault_of_torchvision_is_told(tmp_path: Path) -> None:
    folder = a_torchvision(tmp_path, "raise RuntimeError('libpng is missing')")

    done = imported_beside(folder)

    assert done.returncode == 1
    assert "RuntimeError: libpng is missing" in done.stderr


@pytest.mark.parametrize(
    ("wanted", "there_at_first"), [("is_compile_supported", False), ("CompileEventLogger", True)]
)
def test_torchs_compiler_is_imported_by_who_needs_it_alone(
    tmp_path: Path, wanted: str, there_at_first: bool
) -> None:
    """A torchvision that wants more than one answer of it gets the compiler itself."""
    folder = a_torchvision(tmp_path, f"from torch._dynamo.utils import {wanted} as wanted\n")

    done = imported_beside(folder, COMPILER)

    assert done.returncode == 0, done.stderr
    name = wanted if there_at_first else "<lambda>"
    assert done.stdout.splitlines() == [str(there_at_first), name, "True True"]


NETWORK = """
from pathlib import Path
from PIL import Image
from common.config import Settings
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput

Image.new("RGB", (40, 32)).save("grey.png")
network = FeatureExtractor.from_settings(Settings(backbone="resnet18", weights="random"))
source = FeatureSource(network, None, 1, 0)
print([features.shape for features in source.stream([ImageInput(Path("grey.png"))])])
print("torch._dynamo" in sys.modules or "sympy" in sys.modules)
"""


def test_no_station_waits_for_torchs_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where it makes its network, nor at its first image."""
    monkeypatch.chdir(tmp_path)
    done = imported_beside(tmp_path, NETWORK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
