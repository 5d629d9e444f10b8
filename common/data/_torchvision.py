"""torchvision, also where it was built for another torch than the one that is installed.

Package indexes offer one build of torchvision, usually the one for CUDA. Beside a torch for the CPU
its compiled operators are left out, and `import torchvision` fails where it first refers to one of
them. Only its networks, its weights and its transforms are used here, none of those operators: that
they are known by name is enough.

Those operators also bring torch's compiler along, which takes longer to import than torch itself
does: every command and every message of a run would wait for it. It is left out as well.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Final

import torch

_MISSING: Final = "operator torchvision::nms does not exist"
_SCHEMA: Final = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_COMPILER: Final = "torch._dynamo"


def _forget(package: str) -> None:
    """Let the next import of a package begin anew."""
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    """Stand in for the compiler: one function tells an operator that it cannot be compiled."""
    if _COMPILER in sys.modules:
        yield
        return
    package, utils = ModuleType(_COMPILER), ModuleType(f"{_COMPILER}.utils")
    vars(package).update(__path__=[], utils=utils)
    vars(utils).update(is_compile_supported=lambda device: False)
    sys.modules.update({package.__name__: package, utils.__name__: utils})
    try:
        yield
    finally:
        _forget(_COMPILER)


try:
    with _without_compiler():
        import torchvision
except ImportError:  # it wants more of the compiler than that
    _forget("torchvision")
    import torchvision
except RuntimeError as error:
    if str(error) != _MISSING:
        raise
    # Kept for as long as this module: with it the operators would go.
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}{_SCHEMA}")
    # What the first attempt left behind would be taken for a finished import.
    _forget("torchvision")
    with _without_compiler():
        import torchvision

from torchvision import transforms  # noqa: E402

__all__ = ["torchvision", "transforms"]
