"""Whether work goes to another device than the CPU; imports no torch for work that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class DeviceUnfit(Exception):
    """The device cannot do the work, and why; the CPU does it then, with the same result."""


def accelerator(device: torch.device | str | None) -> torch.device | None:
    """Return the device if it is another than the CPU.

    Raises
    ------
    RuntimeError
        By torch, if there is no such device.
    """
    if device is None or str(device) == "cpu":
        return None
    import torch

    return torch.empty(0, device=device).device
