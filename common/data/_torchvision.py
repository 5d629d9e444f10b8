"""torchvision, also where it was built for another torch than the one that is installed.

Package indexes offer one build of torchvision, usually the one for CUDA. Beside a torch for the CPU
its compiled operators are left out, and `import torchvision` fails where it first refers to one of
them. Only its networks, its weights and its transforms are used here, none of those operators: that
they are known by name is enough.
"""

from __future__ import annotations

import sys
from typing import Final

import torch

_MISSING: Final = "operator torchvision::nms does not exist"
_SCHEMA: Final = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

try:
    import torchvision
except RuntimeError as error:
    if str(error) != _MISSING:
        raise
    # Kept for as long as this module: with it the operators would go.
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}{_SCHEMA}")
    # What the first attempt left behind would be taken for a finished import.
    for _name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[_name]
    import torchvision

from torchvision import transforms  # noqa: E402

__all__ = ["torchvision", "transforms"]
